# SPDX-License-Identifier: MIT
"""Starts and stops those who are compared, and measures one of them on one case.

A server is started for each run and ended after it, because the others want the same file. Its
file is read once from end to end before the time begins: pages of a mapping, for one, come into
being when they are first touched.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
PATIENCE = 20  # seconds for a server to start or to end, and for a run beyond its time


class Unavailable(Exception):
    """This contestant cannot run here. The text says why."""


def reason(said):
    """How the last line of what a program says begins, without the words it was called with."""
    lines = said.strip().splitlines() or ["it does not say why"]
    return re.sub(r"^[^:]*: (--disk '.*?': )?", "", lines[-1])[:100]


class Bench:
    """The programs, the files, and the processes that run now."""

    def __init__(self, build, files, folder, seconds):
        self.vblk = build / "vblk"
        self.plain = build / "bench" / "plain"
        self.files = files  # by medium
        self.socket = folder / "s"
        self.seconds = seconds
        self.running = []

    def start(self, argv, **more):
        """Starts a program. A signal that comes meanwhile waits until it is among those to end."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

        def settle():
            # Ctrl-C is ours, and we end them. The session stays: what the kernel schedules by
            # session, it schedules as one.
            os.setpgrp()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        try:
            process = subprocess.Popen(
                [str(word) for word in argv],
                text=True,
                stdin=subprocess.DEVNULL,
                preexec_fn=settle,
                **more,
            )
            self.running.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return process

    def end(self, process):
        """Ends a process, in peace if that is possible."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        self.running.remove(process)

    def end_all(self):
        for process in list(self.running):
            process.send_signal(signal.SIGCONT)
            self.end(process)

    def run(self, argv, seconds):
        """Runs a program to its end; returns what it printed."""
        process = self.start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=seconds + 4 * PATIENCE)
        finally:
            self.end(process)
        if process.returncode:
            raise Unavailable(reason(err))
        return out

    # ---- servers ----

    def command(self, contestant, case):
        path = str(self.files[case.medium]).replace(",", ",,")
        direct = case.medium == "disk"
        if contestant.kind == "vblk":
            spec = f"path={path},engine={contestant.way}" + (",direct" if direct else "")
            return [self.vblk, "serve", "--socket", self.socket, "--disk", spec] + [
                "--queues",
                case.queues,
            ]
        # A thread of its own serves the disk, as it does with vblk. The protocol node alone, without
        # a format above it; cache.direct is O_DIRECT, and flushes are carried out either way.
        cache = "cache.direct=on" if direct else "cache.direct=off"
        return [
            "qemu-storage-daemon",
            "--object",
            "iothread,id=thread",
            "--blockdev",
            f"driver=file,node-name=disk,filename={path},aio={contestant.way},{cache}",
            "--export",
            "type=vhost-user-blk,id=export,node-name=disk,writable=on,iothread=thread,"
            f"num-queues={case.queues},addr.type=unix,addr.path={self.socket}",
        ]

    def serve(self, contestant, case):
        self.socket.unlink(missing_ok=True)
        try:
            server = self.start(
                self.command(contestant, case), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except FileNotFoundError as error:
            raise Unavailable(f"{error.filename} is not installed") from error
        limit = time.monotonic() + PATIENCE
        while not self.socket.exists():
            if server.poll() is not None or time.monotonic() > limit:
                why = reason(server.stderr.read()) if server.poll() is not None else "no socket"
                self.end(server)
                raise Unavailable(why)
            time.sleep(0.005)
        return server

    def drive(self, case):
        driver = [self.vblk, "bench", "--json", "--socket", self.socket]
        warm_up = ["--rw", "read", "--bs", "512k", "--iodepth", "8"]
        warm_up += ["--runtime", f"{min(0.25, self.seconds) * 1000:.0f}ms"]
        for attempt in range(PATIENCE, -1, -1):
            try:
                self.run([*driver, *warm_up], self.seconds)
                break
            except Unavailable as error:
                # The socket is there a moment before somebody listens on it.
                if attempt == 0 or "refused" not in str(error):
                    raise
                time.sleep(0.01)
        return self.run(
            [*driver, *case.options(), "--numjobs", case.queues, "--runtime", self.runtime()],
            self.seconds,
        )

    def runtime(self):
        return f"{self.seconds * 1000:.0f}ms"

    # ---- a run ----

    def measure(self, contestant, case):
        """One run: the report, as vblk bench and the plain program make it."""
        if contestant.kind == "plain":
            path = str(self.files[case.medium]).replace(",", ",,")
            way = contestant.way + ("-direct" if case.medium == "disk" else "")
            argv = [self.plain, way, "--disk", f"path={path}", "--json", *case.options()]
            return json.loads(self.run([*argv, "--runtime", self.runtime()], self.seconds))
        server = self.serve(contestant, case)
        try:
            return json.loads(self.drive(case))
        finally:
            self.end(server)


def make_file(path, size):
    """A file of noise: no holes, and nothing that could be told to be zeros."""
    noise = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for start in range(0, size, len(noise)):
            file.write(noise[: size - start])
        file.flush()
        os.fsync(file.fileno())
    return pathlib.Path(path)
