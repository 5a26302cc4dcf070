"""Which files of a directory are read when, and what they say together."""

from __future__ import annotations

import pytest

from discovery.config import FollowedName, NameKind
from discovery.model import Endpoint, Position, Service
from discovery.sources.folder import MAX_FILES, Content, Folder, is_service_file

ONE, TWO, THREE = (1, 1, 1, 1), (1, 2, 2, 2), (1, 3, 3, 3)


def says(*names: str, file: str = "") -> Content:
    position = Position(file=file, line=1) if file else None
    return Content(services=tuple(Service(name=name, position=position) for name in names))


def broken(message: str) -> Content:
    return Content(problems=(message,))


def names(folder: Folder) -> list[str]:
    return [service.name for service in folder.services]


@pytest.fixture
def folder() -> Folder:
    """With a.yaml, which has the service a."""
    folder = Folder()
    assert folder.look({"a.yaml": ONE}) == ["a.yaml"]
    folder.take({"a.yaml": says("a")})
    return folder


def test_what_is_there_first_is_read_at_once(folder: Folder) -> None:
    assert names(folder) == ["a"]
    assert folder.look({"a.yaml": ONE}) == []
    assert folder.problem is None


def test_a_new_file_is_read_when_it_looked_the_same_twice(folder: Folder) -> None:
    assert folder.look({"a.yaml": ONE, "b.yaml": ONE}) == []
    assert folder.look({"a.yaml": ONE, "b.yaml": TWO}) == []  # still being written
    assert folder.look({"a.yaml": ONE, "b.yaml": TWO}) == ["b.yaml"]
    folder.take({"b.yaml": says("b")})
    assert names(folder) == ["a", "b"]


def test_so_is_another_content(folder: Folder) -> None:
    assert folder.look({"a.yaml": TWO}) == []
    assert folder.look({"a.yaml": TWO}) == ["a.yaml"]
    folder.take({"a.yaml": says("a", "c")})
    assert names(folder) == ["a", "c"]


def test_a_file_that_changes_while_it_is_read_is_read_again(folder: Folder) -> None:
    folder.look({"a.yaml": TWO})
    assert folder.look({"a.yaml": TWO}) == ["a.yaml"]
    folder.take({"a.yaml": says()})
    assert folder.look({"a.yaml": THREE}) == []
    assert folder.look({"a.yaml": THREE}) == ["a.yaml"]


def test_a_removed_file_takes_its_services_with_it(folder: Folder) -> None:
    assert folder.look({}) == []
    assert names(folder) == ["a"]  # somebody may just be replacing it
    folder.look({})
    assert names(folder) == []


def test_a_replaced_file_is_never_gone(folder: Folder) -> None:
    folder.look({})
    assert folder.look({"a.yaml": TWO}) == []
    assert names(folder) == ["a"]
    assert folder.look({"a.yaml": TWO}) == ["a.yaml"]


def test_a_broken_file_keeps_what_it_said(folder: Folder) -> None:
    folder.look({"a.yaml": TWO})
    folder.look({"a.yaml": TWO})
    folder.take({"a.yaml": broken("a.yaml:3:1: not YAML")})
    assert names(folder) == ["a"]
    assert folder.problem == "a.yaml:3:1: not YAML"
    assert folder.look({"a.yaml": TWO}) == []  # once is enough

    folder.look({"a.yaml": THREE})
    folder.look({"a.yaml": THREE})
    folder.take({"a.yaml": says("a2")})
    assert names(folder) == ["a2"]
    assert folder.problem is None


def test_a_broken_file_that_is_removed_is_no_problem_any_more(folder: Folder) -> None:
    folder.look({"a.yaml": TWO})
    folder.look({"a.yaml": TWO})
    folder.take({"a.yaml": broken("wrong")})
    folder.look({})
    folder.look({})
    assert (names(folder), folder.problem) == ([], None)


def test_a_directory_that_cannot_be_looked_at_keeps_everything(folder: Folder) -> None:
    folder.fail("it is gone")
    assert (names(folder), folder.problem) == (["a"], "it is gone")
    assert folder.look({"a.yaml": ONE}) == []
    assert (names(folder), folder.problem) == (["a"], None)


def test_so_does_one_with_too_many_files(folder: Folder) -> None:
    assert folder.look({f"{number}.yaml": ONE for number in range(MAX_FILES + 1)}) == []
    assert names(folder) == ["a"]
    assert folder.problem is not None
    assert folder.problem.startswith("1001 files of services, expected at most 1000")


def test_of_two_files_with_a_service_the_first_name_is_right(folder: Folder) -> None:
    folder.look({"0.yaml": ONE, "a.yaml": ONE})
    folder.look({"0.yaml": ONE, "a.yaml": ONE})
    folder.take({"0.yaml": says("b", "a", file="0.yaml")})
    assert names(folder) == ["b", "a"]
    assert folder.problem == "a.yaml: service a is in 0.yaml already, which comes first"
    folder.look({"a.yaml": ONE})
    folder.look({"a.yaml": ONE})
    assert (names(folder), folder.problem) == (["a"], None)


def test_names_come_from_the_file_that_is_right() -> None:
    def named(service: str, address: str) -> Content:
        endpoint = Endpoint(id="e", address=address)
        name = FollowedName(service=service, endpoint=endpoint, kind=NameKind.ADDRESS, name=address, port=1)
        return Content(services=(Service(name=service),), followed=(name,))

    folder = Folder()
    folder.look({"a.yaml": ONE, "b.yaml": ONE})
    folder.take({"a.yaml": named("s", "one:1"), "b.yaml": named("s", "two:1")})
    assert [each.name for each in folder.followed] == ["one:1"]


def test_many_problems_are_a_few_and_a_number() -> None:
    folder = Folder()
    folder.look({f"{number}.yaml": ONE for number in range(8)})
    folder.take({f"{number}.yaml": broken(f"wrong {number}") for number in range(8)})
    assert folder.problem == "wrong 0; wrong 1; wrong 2; wrong 3; wrong 4; and 3 more"


def test_everything_is_read_again_when_that_is_wanted(folder: Folder) -> None:
    folder.forget()
    assert folder.look({"a.yaml": ONE}) == ["a.yaml"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.yaml", True), ("a.yml", True), ("a.json", True), (".a.yaml", False), ("a.yaml~", False), ("README.md", False)],
)
def test_which_files_are_looked_at(name: str, expected: bool) -> None:
    assert is_service_file(name) is expected
