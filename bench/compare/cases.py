# SPDX-License-Identifier: MIT
"""What is measured: loads, and who carries them out."""

from dataclasses import dataclass

MEMORY, DISK = "memory", "disk"


@dataclass(frozen=True)
class Case:
    name: str
    rw: str
    block: str
    depth: int
    medium: str = MEMORY
    queues: int = 1
    mix: int = 0  # percent of reads of randrw
    flush_every: int = 0  # writes
    quick: bool = False  # also part of a quick run

    def options(self):
        """The load's options, for vblk bench and for the plain program."""
        words = ["--rw", self.rw, "--bs", self.block, "--iodepth", str(self.depth)]
        if self.mix:
            words += ["--rwmixread", str(self.mix)]
        if self.flush_every:
            words += ["--fsync", str(self.flush_every)]
        return words


def all_cases():
    cases = []
    for rw in ("randread", "randwrite"):
        for depth in (1, 8, 32, 128):
            quick = depth == 32 or (rw, depth) == ("randread", 1)
            cases.append(Case(f"{rw} 4k depth {depth}", rw, "4k", depth, quick=quick))
    cases += [
        Case("read 128k depth 8", "read", "128k", 8, quick=True),
        Case("write 128k depth 8", "write", "128k", 8),
        Case("mixed 4k depth 32", "randrw", "4k", 32, mix=70, flush_every=64),
        Case("randread 4k depth 32 x4 queues", "randread", "4k", 32, queues=4, quick=True),
        Case("randwrite 4k depth 32 x4 queues", "randwrite", "4k", 32, queues=4),
        Case("disk randread 4k depth 1", "randread", "4k", 1, DISK),
        Case("disk randread 4k depth 32", "randread", "4k", 32, DISK, quick=True),
        Case("disk randwrite 4k depth 32", "randwrite", "4k", 32, DISK),
        Case("disk read 128k depth 8", "read", "128k", 8, DISK),
    ]
    return cases


@dataclass(frozen=True)
class Contestant:
    name: str
    kind: str  # vblk, qsd, plain
    way: str  # engine of vblk, aio of qsd, way of plain
    media: tuple = (MEMORY, DISK)

    def takes(self, case):
        return case.medium in self.media and not (self.kind == "plain" and case.queues > 1)


CONTESTANTS = [
    Contestant("vblk sync", "vblk", "sync"),
    Contestant("vblk mmap", "vblk", "mmap", (MEMORY,)),
    Contestant("vblk uring", "vblk", "uring"),
    Contestant("qsd threads", "qsd", "threads"),
    Contestant("qsd io_uring", "qsd", "io_uring"),
    Contestant("plain preadv", "plain", "sync"),
    Contestant("plain io_uring", "plain", "uring"),
    Contestant("plain memcpy", "plain", "copy", (MEMORY,)),
]
