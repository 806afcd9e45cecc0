"""Scripts: what Redis does in one step for everybody, and many callers in one round trip.

Threads that ask while another one's question is on its way wait for that, and then one of them asks
for all. A thousand calls that begin at once so cost a few dozen trips on one connection; a single
one costs what it always did. Who asks behind a Redis that hangs waits for two timeouts at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from threading import Lock
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError, RedisError

TOGETHER_MAX = 100


class _Question:
    """One script to run, and what came of it: an answer, or an error."""

    __slots__ = ("answer", "args", "is_answered", "keys", "script")

    def __init__(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> None:
        self.script, self.keys, self.args = script, keys, args
        self.answer: Any = None
        self.is_answered = False


class Scripts:
    """The Lua scripts of a folder, by name. Safe to use from many threads."""

    def __init__(self, redis: Redis, folder: Traversable, names: Sequence[str]) -> None:
        self._redis = redis
        self._scripts = {
            name: redis.register_script((folder / f"{name}.lua").read_text("utf-8"))
            for name in names
        }
        self._waiting: deque[_Question] = deque()
        self._asking = Lock()

    def run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script returns; raises `RedisError` where that is not known."""
        mine = _Question(name, keys, args)
        self._waiting.append(mine)
        while not mine.is_answered:
            with self._asking:
                if not mine.is_answered:
                    self._ask_together()
        if isinstance(mine.answer, RedisError):
            raise RedisError(f"{name}: {mine.answer}") from mine.answer
        return mine.answer

    def _ask_together(self) -> None:
        many = min(TOGETHER_MAX, len(self._waiting))
        together = [self._waiting.popleft() for _ in range(many)]
        answers: list[Any] = [RedisError("whoever asked was interrupted")] * many
        try:
            answers = self._ask(together)
        except RedisError as error:
            answers = [error] * many
        finally:
            # Also when this thread is ended here: the others wait for it.
            for each, answer in zip(together, answers, strict=True):
                each.answer, each.is_answered = answer, True

    def _ask(self, together: Sequence[_Question]) -> list[Any]:
        answers = self._send(together)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Redis began anew: these have not run.
            for script in self._scripts.values():
                self._redis.script_load(script.script)
            again = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            for n, answer in zip(again, self._send([together[n] for n in again]), strict=True):
                answers[n] = answer
        return answers

    def _send(self, together: Sequence[_Question]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipe:
            for each in together:
                sha = self._scripts[each.script].sha
                pipe.evalsha(sha, len(each.keys), *each.keys, *each.args)
            return pipe.execute(raise_on_error=False)
