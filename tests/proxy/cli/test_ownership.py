from __future__ import annotations

from pathlib import Path

from proxy.cli.ownership import conflict


def install(folder: Path, name: str, *files: str) -> None:
    record = folder / f"{name}-1.0.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("".join(f"{file},sha256=x,1\n" for file in files))


def test_another_owner_of_a_package_of_ours_is_named(tmp_path: Path) -> None:
    install(tmp_path, "proxy_py", "proxy/__init__.py", "proxy/main.py")
    sentence = conflict([str(tmp_path)])
    assert "proxy_py" in sentence
    assert "import package proxy" in sentence


def test_our_own_installation_and_packages_with_similar_names_are_no_conflict(tmp_path: Path) -> None:
    install(tmp_path, "hivemesh", "proxy/__init__.py", "mesh/router.py")
    install(tmp_path, "other", "proxytools/__init__.py", "other/proxy/x.py", "meshes.py", "proxy.py")
    assert conflict([str(tmp_path), str(tmp_path / "missing")]) == ""


def test_this_installation_has_no_conflict() -> None:
    assert conflict() == ""
