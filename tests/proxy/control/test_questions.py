"""Questions to workers: who has answered, who is gone, and how many there may be."""

from __future__ import annotations

import asyncio

import pytest

from proxy.admin.view import TooManyQuestions
from proxy.control.questions import MOST_OPEN, Questions


def test_there_are_so_many_at_a_time_and_then_room_again() -> None:
    async def scenario() -> None:
        questions: Questions[str] = Questions()
        numbers: list[int] = []
        asked = [
            asyncio.create_task(questions.ask([0], lambda worker, number: numbers.append(number)))
            for _ in range(MOST_OPEN)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyQuestions, match="16 questions"):
            await questions.ask([0], lambda worker, number: None)
        for number in numbers:
            questions.answered(0, number, f"answer {number}")
        assert [await each for each in asked] == [{0: f"answer {number}"} for number in numbers]
        questions_of_nobody = await questions.ask([], lambda worker, number: None)
        assert questions_of_nobody == {}

    asyncio.run(scenario())


def test_whoever_does_not_answer_in_time_has_no_answer() -> None:
    async def scenario() -> None:
        questions: Questions[str] = Questions()
        sent: list[tuple[int, int]] = []
        answers = questions.ask([1, 0], lambda worker, number: sent.append((worker, number)), within=0.01)
        asking = asyncio.create_task(answers)
        await asyncio.sleep(0)
        questions.answered(1, sent[0][1], "one")
        questions.answered(7, sent[0][1], "nobody asked")
        assert await asking == {1: "one"}
        questions.answered(0, sent[0][1], "late")

    asyncio.run(scenario())
