"""Where endpoints come from besides the configuration file and the API: watched directories, and names of DNS.

    fingerprints.py  what tells one content of a file from another
    folder.py        what files of a directory have to be read, and what they say together (pure)
    directory.py     a watched directory
    resolution.py    what answers of DNS mean for an endpoint that is a name, and when to look again (pure)
    messages.py      questions written, answers understood (pure)
    stub.py          one question to several resolvers, over UDP and TCP
    hosts.py         /etc/hosts and /etc/resolv.conf (pure)
    names.py         followed names

A source says what it knows to `Reports`, which is the catalog, and never takes anything back because it cannot look.
"""

from __future__ import annotations

from typing import Protocol

from discovery.changes import Change


class Reports(Protocol):
    """The catalog, as a source sees it."""

    def report(self, change: Change) -> object:
        """Put in force. Raises ChangeError, and then nothing has changed."""

    def problem(self, source: str, message: str | None) -> None:
        """What is wrong with `source` now; None: nothing."""
