# SPDX-License-Identifier: MIT
"""A front end of vhost-user for tests that want to say what no real one would, or when."""

import array
import mmap
import os
import select
import socket
import struct
import time

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_NUM, SET_ADDR, SET_BASE, GET_BASE, SET_KICK, SET_CALL = 8, 9, 10, 11, 12, 13
SET_PROTOCOL, SET_ENABLE, SET_BACKEND, GET_INFLIGHT, SET_INFLIGHT = 16, 18, 21, 31, 32

RING_SIZE = 16
MEMORY = 1 << 20
USER = 0x7F0000000000
LIMIT = 20  # seconds for each thing that is waited for


class Failure(Exception):
    pass


class FrontEnd:
    """A connection, and guest memory with up to four rings in it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(path)
        self.fds = []
        self.memory = None

    def say(self, request, payload=b"", fds=(), size=None):
        size = len(payload) if size is None else size
        message = struct.pack("=III", request, 1, size) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([message], rights)

    def hear(self):
        """The payload of an answer, and the descriptor that came along."""
        header, rights, _, _ = self.socket.recvmsg(12, socket.CMSG_SPACE(4))
        if len(header) < 12:
            raise Failure("the daemon has ended the connection")
        for _, _, data in rights:
            self.fds.append(array.array("i", data)[0])
        return self.socket.recv(struct.unpack("=III", header)[2])

    def ask(self, request, payload=b""):
        self.say(request, payload)
        return self.hear()

    def negotiate(self):
        features = struct.unpack("=Q", self.ask(GET_FEATURES))[0]
        self.say(SET_PROTOCOL, struct.pack("=Q", 0x1B223))  # all but REPLY_ACK
        self.say(SET_OWNER)
        # Without EVENT_IDX each answer is announced; LOG_ALL is for migrations.
        self.say(SET_FEATURES, struct.pack("=Q", features & ~(1 << 29 | 1 << 26)))

    def share(self):
        fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(fd, MEMORY)
        self.fds.append(fd)
        self.memory = mmap.mmap(fd, MEMORY)
        self.say(SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, MEMORY, USER, 0), [fd])

    def record(self, rings):
        record = self.ask(GET_INFLIGHT, struct.pack("=QQHHI", 0, 0, rings, RING_SIZE, 0))
        self.say(SET_INFLIGHT, record, [self.fds[-1]])

    def start(self, ring):
        at = USER + ring * 0x4000
        kick, call = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        self.fds += [kick, call]
        self.say(SET_NUM, struct.pack("=II", ring, RING_SIZE))
        self.say(SET_BASE, struct.pack("=II", ring, 0))
        self.say(SET_ADDR, struct.pack("=IIQQQQ", ring, 0, at, at + 0x2000, at + 0x1000, 0))
        self.say(SET_CALL, struct.pack("=Q", ring), [call])
        self.say(SET_KICK, struct.pack("=Q", ring), [kick])
        self.say(SET_ENABLE, struct.pack("=II", ring, 1))
        return kick, call

    def read_sector(self, ring, kick):
        """Makes a read of sector 0 available; the data go to 0x20000 and the ring's number on."""
        base, data = ring * 0x4000, 0x20000 + ring * 0x4000
        chain = ((0x10000, 16, 1, 1), (data, 512, 3, 2), (0x10100 + ring, 1, 2, 0))
        for i, (address, length, flags, following) in enumerate(chain):
            struct.pack_into(
                "<QIHH", self.memory, base + 16 * i, address, length, flags, following
            )
        struct.pack_into("<HHH", self.memory, base + 0x1000, 0, 1, 0)
        os.eventfd_write(kick, 1)
        return data

    def wait_for_answer(self, ring, call):
        end = time.monotonic() + LIMIT
        while struct.unpack_from("<H", self.memory, ring * 0x4000 + 0x2002)[0] != 1:
            if time.monotonic() > end:
                raise Failure("a request is not answered")
            if select.select([call], [], [], LIMIT)[0]:
                os.eventfd_read(call)

    def read_and_wait(self, ring):
        """Starts a ring, and returns what the first sector of the disk reads as."""
        kick, call = self.start(ring)
        data = self.read_sector(ring, kick)
        self.wait_for_answer(ring, call)
        return self.memory[data : data + 512]

    def close(self):
        self.socket.close()
        if self.memory:
            self.memory.close()
        for fd in self.fds:
            os.close(fd)
