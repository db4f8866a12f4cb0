"""A C toolchain for arm64 around a compiler that is installed here, if it is."""

load("@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl", "tool_path")

# Bazel wants a path for every tool; the runner needs these, and the linker is the compiler's business.
_TOOLS = ["gcc", "cpp", "ar", "ld", "nm", "objdump", "strip", "gcov"]

def _cross_config(ctx):
    paths = {tool: ctx.attr.compiler if tool in ("gcc", "cpp", "ld") else ctx.attr.archiver for tool in _TOOLS}
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        abi_libc_version = "unknown",
        abi_version = "unknown",
        compiler = "unknown",
        cxx_builtin_include_directories = ctx.attr.headers,
        host_system_name = "local",
        target_cpu = "aarch64",
        target_libc = "unknown",
        target_system_name = "arm64",
        tool_paths = [tool_path(name = tool, path = path) for tool, path in paths.items()],
        toolchain_identifier = ctx.attr.compiler,
    )

cross_config = rule(
    implementation = _cross_config,
    attrs = {
        "archiver": attr.string(),
        "compiler": attr.string(),
        "headers": attr.string_list(doc = "Folders of the compiler's own headers."),
    },
    provides = [CcToolchainConfigInfo],
)

_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_toolchain")
load("@patchwork//benchmarks/runner:cross.bzl", "cross_config")

cross_config(name = "config", archiver = "{archiver}", compiler = "{compiler}", headers = {headers})

filegroup(name = "none")

cc_toolchain(
    name = "compiler",
    all_files = ":none",
    compiler_files = ":none",
    dwp_files = ":none",
    linker_files = ":none",
    objcopy_files = ":none",
    strip_files = ":none",
    toolchain_config = ":config",
)

toolchain(
    name = "toolchain",
    target_compatible_with = ["@platforms//cpu:aarch64", "@platforms//os:{os}"],
    toolchain = ":compiler",
    toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
)
"""

def _find(context):
    """The compiler's path, or None."""
    if not context.attr.ndk:
        return context.which(context.attr.compiler)
    home = context.os.environ.get("ANDROID_NDK_HOME")
    host = "darwin-x86_64" if context.os.name.startswith("mac") else "linux-x86_64"
    return home and context.path("%s/toolchains/llvm/prebuilt/%s/bin/%s" % (home, host, context.attr.compiler))

def _header_folders(context, compiler):
    """Where a compiler looks for <headers>, which it lists when it is asked to be verbose."""
    said = context.execute([compiler, "-E", "-v", "-x", "c", "/dev/null"]).stderr
    listed = said.partition("#include <...> search starts here:")[2].partition("End of search list.")[0]
    return [str(context.path(folder.strip()).realpath) for folder in listed.strip().splitlines()]

def _cross_compiler(context):
    compiler = _find(context)
    if not compiler or not compiler.exists:
        context.file("BUILD.bazel", "")
        return
    context.file("BUILD.bazel", _BUILD.format(
        archiver = context.which("ar") or "/bin/false",
        compiler = compiler,
        headers = _header_folders(context, compiler),
        os = context.attr.os,
    ))

cross_compiler = repository_rule(
    implementation = _cross_compiler,
    doc = "Toolchain for arm64 machines that run `os`; empty if its compiler is not installed.",
    attrs = {
        "compiler": attr.string(mandatory = True, doc = "Name of the program, in PATH or in the NDK."),
        "ndk": attr.bool(doc = "Whether it is in the Android NDK that ANDROID_NDK_HOME names."),
        "os": attr.string(mandatory = True),
    },
    environ = ["ANDROID_NDK_HOME", "PATH"],
    local = True,
)
