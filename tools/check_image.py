"""Carries out the steps of the Dockerfile without a container engine, and looks at what comes out.

The wheel is built in a clean environment from the files that the image would copy; modules that the checkout has
compiled already are not compiled again. It must hold every compiled module and neither generated C nor the sources of
kernels. It is then installed in another clean environment, outside the checkout, where no compiler can be reached;
there `hivemesh` must start with the image's own configuration, answer a request, and end on SIGTERM with exit code 0.
Never touches the checkout.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pure_tree import built_of, files_of

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "Dockerfile"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 40.0
BUILD_TIMEOUT = 3600.0

# Instruments of the program under test must not reach a compiler, whatever the machine has.
NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}


class ImageProblem(Exception):
    """Something that would be wrong with the image, in one sentence."""


def say(step: str) -> None:
    print(f"image-check: {step}", flush=True)


def run(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise ImageProblem(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def copied_sources() -> list[str]:
    """What the COPY instructions of the Dockerfile name, without their targets."""
    sources: list[str] = []
    for line in DOCKERFILE.read_text().splitlines():
        if line.startswith("COPY "):
            sources += line.split()[1:-1]
    return sources


def copy_context(target: Path) -> None:
    """The files that the image is built from; each source of a COPY must exist."""
    written = files_of(ROOT)
    for source in copied_sources():
        files = [path for path in written if path == Path(source) or Path(source) in path.parents]
        if not files:
            raise ImageProblem(f"the Dockerfile copies {source}, which does not exist")
        for path in files:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target / path)


def take_built(context: Path) -> int:
    """Put what the checkout has compiled (make build) where a build would leave it; how many modules that are.

    They are given a time to come: the files of Cython, on which they depend, are installed anew for the build.
    """
    library = context / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    coming = time.time() + BUILD_TIMEOUT
    taken = 0
    for path in built_of(ROOT, (".py", ".pyx")):
        target = (context if path.suffix == ".c" else library) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
        os.utime(target, (coming, coming))
        taken += path.suffix == ".so"
    return taken


def make_environment(directory: Path) -> Path:
    """A new virtual environment; its interpreter."""
    venv.create(directory, with_pip=True)
    return directory / "bin" / "python"


def build_wheel(context: Path, directory: Path) -> Path:
    python = make_environment(directory / "build-env")
    wheels = directory / "wheels"
    run([python, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", wheels, "."], context)
    found = list(wheels.glob("*.whl"))
    if len(found) != 1:
        raise ImageProblem(f"expected one wheel, got {[wheel.name for wheel in found]}")
    return found[0]


def check_contents(wheel: Path, context: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    unwanted = [
        name for name in names if name.endswith((".c", ".pyx", ".pyc")) or name.startswith(("tests/", "tools/"))
    ]
    if unwanted:
        raise ImageProblem(f"the wheel holds what it should not: {', '.join(unwanted)}")
    listed = re.findall(r'"((?:discovery|mesh|proxy)/\S+)\.pyx?"', (context / "setup.py").read_text())
    present = [module for module in listed if any((context / f"{module}{end}").exists() for end in (".py", ".pyx"))]
    missing = [module for module in present if not any(re.match(rf"{module}\.[^/]*\.so$", name) for name in names)]
    if missing or not present:
        raise ImageProblem(f"the wheel lacks the compiled form of {', '.join(missing) or 'every module'}")
    plain = [path for path in files_of(context) if path.suffix == ".py" and len(path.parts) > 1]
    forgotten = [str(path) for path in plain if str(path) not in names]
    if forgotten:
        raise ImageProblem(f"the wheel lacks {', '.join(sorted(forgotten))}: is the package listed in pyproject.toml?")
    say(f"{wheel.name}: {len(present)} compiled modules, {wheel.stat().st_size // 1024} KiB")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer_of(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def check_program(command: Path, directory: Path) -> None:
    """Start the installed program with the image's configuration, ask it, and end it."""
    environment = {**NO_COMPILER, "PATH": str(command.parent), "HOME": str(directory)}
    say(run([command, "version"], directory, environment).strip().replace("\n", "\n             "))
    config = directory / "hivemesh.yaml"
    text = (ROOT / "examples" / "container.yaml").read_text()
    web, metrics, admin = free_port(), free_port(), free_port()
    for written, free in (("0.0.0.0:8080", web), ("0.0.0.0:9901", metrics), ("127.0.0.1:9900", admin)):
        if written not in text:
            raise ImageProblem(f"examples/container.yaml no longer has the address {written} that the image exposes")
        text = text.replace(written, f"127.0.0.1:{free}")
    config.write_text(text.replace("workers: auto", "workers: 1"))
    run([command, "check", config], directory, environment)
    output = directory / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [command, "run", "-c", config],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(process, metrics, output)
        status, body = answer_of(web, "/")
        if status != 200 or "hivemesh is running" not in body:
            raise ImageProblem(f"the image's own page answered {status}: {body}")
        if answer_of(metrics, "/livez")[0] != 200:
            raise ImageProblem("/livez, which the image's health check asks, does not answer 200")
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_TIMEOUT) != 0:
            raise ImageProblem(f"SIGTERM ended it with {process.returncode}:\n{output.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if answer_of(port, "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise ImageProblem(f"it did not become ready:\n{output.read_text()}")


def check() -> None:
    with tempfile.TemporaryDirectory(prefix="hivemesh-image-") as name:
        directory = Path(name)
        context = directory / "src"
        copy_context(context)
        say(f"building the wheel; {take_built(context)} modules are compiled already")
        wheel = build_wheel(context, directory)
        check_contents(wheel, context)
        say("installing it where there is no compiler")
        python = make_environment(directory / "run-env")
        environment = {**os.environ, **NO_COMPILER}
        run([python, "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel], directory, environment)
        outside = directory / "outside"
        outside.mkdir()
        check_program(python.parent / "hivemesh", outside)
        say("good")


def main() -> int:
    try:
        check()
    except ImageProblem as problem:
        print(f"image-check: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
