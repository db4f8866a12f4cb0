"""Packaging: `export/`, `benchmarks/` and `runtime/` install as subpackages of patchwork_tf."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# Folder at the top -> its name below patchwork_tf; one name lands in site-packages.
SUBPACKAGES = {
    "export": "patchwork_tf.export",
    "benchmarks": "patchwork_tf.benchmarks",
    "runtime/python/patchwork_runtime": "patchwork_tf.runtime",
    "runtime/c": "patchwork_tf.runtime.c",
    "runtime/web": "patchwork_tf.runtime.web",
    "docs": "patchwork_tf.docs",  # for the clip that the page brings along
}

EXTRAS = {
    "beam": ["apache-beam>=2.60"],
    "int8": ["ai-edge-quantizer>=0.10"],
    "jax": ["jax>=0.4.30"],
}

setup(
    name="patchwork-tf",
    version="0.1.0",
    description="Patchwork: video models for mobile CPUs that look at one window of each frame.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["patchwork_tf", "patchwork_tf.*"]) + list(SUBPACKAGES.values()),
    package_dir={name: folder for folder, name in SUBPACKAGES.items()},
    package_data={
        "patchwork_tf": ["pretrained/*"],
        "patchwork_tf.benchmarks": ["report.css", "runner/*.[ch]"],
        "patchwork_tf.runtime.c": ["*.[ch]"],
        "patchwork_tf.runtime.web": ["*"],
        "patchwork_tf.docs": ["photos.mp4"],
    },
    install_requires=[
        "absl-py>=2.0",
        "ai-edge-litert>=2.3",
        "av>=15.0",
        "etils[epath]>=1.6",
        "flatbuffers>=24.3",
        "importlib_resources>=6.0",  # tensorflow-datasets 4.9 needs it and does not say so
        "keras>=3.8",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "pillow>=10.0",
        "pycocotools>=2.0.8",
        "pydantic>=2.7",
        "pyyaml>=6.0",
        "tabulate>=0.9",
        "tensorboard>=2.18",
        "tensorflow>=2.20",
        "tensorflow-datasets>=4.9.6",
        "tqdm>=4.65",
    ],
    extras_require={
        **EXTRAS,
        "test": [
            *(package for packages in EXTRAS.values() for package in packages),
            # It brings adb along.
            "adbutils>=2.8; platform_machine == 'x86_64' or sys_platform == 'darwin'",
            "dill>=0.3",  # tensorflow_datasets.testing needs it
            "hypothesis>=6.100",
            "playwright>=1.50",
            "pytest>=8.0",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
        ],
    },
    entry_points={
        "console_scripts": [
            "patchwork-train = patchwork_tf.train:main",
            "patchwork-evaluate = patchwork_tf.evaluate:main",
            "patchwork-export = patchwork_tf.export.__main__:main",
            "patchwork-import = patchwork_tf.export.import_command:main",
            "patchwork-benchmark = patchwork_tf.benchmarks.__main__:main",
            "patchwork-compare = patchwork_tf.compare:main",
            "patchwork-demo = patchwork_tf.demo:main",
            "patchwork-recipe = patchwork_tf.recipe:main",
            "patchwork-prepare = patchwork_tf.prepare:main",
            "patchwork-tables = patchwork_tf.tables:main",
            "patchwork-web = patchwork_tf.export.web:main",
        ]
    },
)
