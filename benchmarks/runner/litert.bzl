"""The LiteRT library that pip installed, as @litert//:library."""

_ASK = "import ai_edge_litert, os; print(os.path.join(ai_edge_litert.__path__[0], 'libLiteRt.so'))"

def _find(context):
    named = context.os.environ.get("LITERT_LIBRARY")
    python = context.which("python3")
    if named or not python:
        return named
    answer = context.execute([python, "-c", _ASK])
    return answer.stdout.strip() if answer.return_code == 0 else None

def _installed_litert(context):
    path = _find(context)
    if path:
        context.symlink(path, "libLiteRt.so")

    # Without it the runner still builds: it loads whatever library its flag names.
    context.file("BUILD.bazel", """
filegroup(
    name = "library",
    srcs = glob(["libLiteRt.so"]),
    visibility = ["//visibility:public"],
)
""")

installed_litert = repository_rule(
    implementation = _installed_litert,
    doc = "Finds libLiteRt.so by the environment variable LITERT_LIBRARY, or by asking python3.",
    environ = ["LITERT_LIBRARY", "PATH"],
    local = True,
)
