"""A phone that is not there: the device's side of the adb protocol, for real adb clients to talk to.

Shell commands run on this machine, in a folder that stands for the phone's file system (see
emulated_system.py); nothing measured there is a phone's. Faults happen when a test asks for them.

The protocol, as in Android's packages/modules/adb: messages of six little-endian words and data; streams
opened by the client, on which every WRTE waits for an OKAY; as services `shell:`, `shell,v2`, `exec:` and
`sync:`. Delayed acknowledgement, compression and TLS are not offered, so no client asks for them.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import struct
import threading

from emulated_system import EmulatedSystem

_WORDS = struct.Struct("<6I")
_VERSION = 0x01000001  # of the protocol, from which on nobody looks at checksums
_MAX_DATA = 256 * 1024
_TOKEN, _PUBLIC_KEY = 1, 3
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_CHUNK = 64 * 1024  # of a file, the most that sync allows
_FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,sendrecv_v2"


@dataclasses.dataclass
class Faults:
    """What goes wrong, and when. All off until a test sets them.

    Attributes:
        unplug_push, unplug_pull: the link drops once so many bytes of a file went that way.
        unplug_command, unplug_after: it drops so many seconds into a command that has this text.
        room: bytes of a file that fit onto the device; what is beyond fails as on a full disk.
        shorten_push, shorten_pull: only half of a file arrives, and nobody says so.
    """

    unplug_push: int | None = None
    unplug_pull: int | None = None
    unplug_command: str | None = None
    unplug_after: float = 0.3
    room: int | None = None
    shorten_push: bool = False
    shorten_pull: bool = False


class EmulatedDevice:
    """Serves adb clients on this machine within a `with` block.

    Args:
        folder: becomes the phone's file system.
        key: 'none' lets every client in, 'accept' only after it has shown its key, 'refuse' nobody.
        serial: the phone's own (ro.serialno), the same on USB and TCP.

    Attributes:
        name: what `adb connect` takes and `adb devices` shows.
        system: the EmulatedSystem.
        faults: what goes wrong.
        commands: all shell commands so far.
    """

    def __init__(self, folder, key: str = "none", serial: str = "EMULATED0001"):
        self.system = EmulatedSystem(folder, serial)
        self.key = key
        self.faults = Faults()
        self.commands = []
        self._port = 0
        self._server = None
        self._links = set()
        self._ended = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self.plug_in()
        return self

    def __exit__(self, *_):
        self.unplug()
        self._wait_for(self._close_pipes())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._port}"

    def plug_in(self):
        """Lets clients connect, at the same port as before."""
        self._wait_for(self._listen())

    def unplug(self):
        """Cuts all links and lets nobody in."""

        async def drop():
            self.drop()
            while self._links:
                await asyncio.sleep(0.01)

        self._wait_for(drop())

    def drop(self):
        """Cuts all links, as a pulled cable does. In the device's thread only."""
        self._server.close()
        for link in self._links:
            link.cut()

    async def run(self, command: str, errors_apart: bool) -> asyncio.subprocess.Process:
        """Starts a shell command, maybe one to be cut off."""
        self.commands.append(command)
        process = await self.system.start(command, errors_apart)
        if self.faults.unplug_command and self.faults.unplug_command in command:
            self._loop.call_later(self.faults.unplug_after, self.drop)
        return process

    def hang_up(self, process: asyncio.subprocess.Process):
        """Ends a command whose client is gone, as adbd does; here with its children, to leave nothing behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)
        self._ended.append(process)

    async def _close_pipes(self):
        await asyncio.gather(*(process.communicate() for process in self._ended))

    def _wait_for(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        link = Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.serve()
        finally:
            self._links.discard(link)


class Link:
    """One client's connection, until it is closed or cut."""

    def __init__(self, device, reader, writer):
        self._device, self._reader, self._writer = device, reader, writer
        self._streams = {}  # our number -> Stream
        self._services = set()

    async def serve(self):
        try:
            while True:
                words = _WORDS.unpack(await self._reader.readexactly(_WORDS.size))
                data = await self._reader.readexactly(words[3])
                await self._handle(words[0].to_bytes(4, "little"), words[1], words[2], data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for service in self._services:
                service.cancel()
            await asyncio.gather(*self._services, return_exceptions=True)
            self._writer.close()

    def cut(self):
        self._writer.transport.abort()

    async def send(self, command: bytes, first: int, second: int, data: bytes = b""):
        word = int.from_bytes(command, "little")
        self._writer.write(_WORDS.pack(word, first, second, len(data), 0, word ^ 0xFFFFFFFF) + data)
        await self._writer.drain()

    async def _handle(self, command, first, second, data):
        if command == b"CNXN" and self._device.key == "none":
            await self._welcome()
        elif command == b"CNXN":
            await self.send(b"AUTH", _TOKEN, 0, os.urandom(20))
        elif command == b"AUTH":  # a client whose signature is not known gets another token, then shows its key
            if first != _PUBLIC_KEY:
                await self.send(b"AUTH", _TOKEN, 0, os.urandom(20))
            elif self._device.key == "accept":
                await self._welcome()
        elif command == b"OPEN":
            await self._open(first, data.rstrip(b"\0").decode())
        elif second in self._streams:  # else it is about a stream that has just been closed
            await self._streams[second].handle(command, data)

    async def _welcome(self):
        banner = f"device::{self._device.system.banner};features={_FEATURES}"
        await self.send(b"CNXN", _VERSION, _MAX_DATA, banner.encode())

    async def _open(self, remote, service):
        stream = Stream(self, len(self._streams) + 1, remote)
        self._streams[stream.local] = stream
        await self.send(b"OKAY", stream.local, remote)
        task = asyncio.create_task(self._run(stream, service))
        self._services.add(task)
        task.add_done_callback(self._services.discard)

    async def _run(self, stream, service):
        name, _, argument = service.partition(":")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if name == "sync":
                await Sync(self._device, stream).serve()
            elif name.split(",")[0] in ("shell", "exec"):
                await _run_command(self._device, stream, argument, packets=name.startswith("shell,v2"))
            await self.send(b"CLSE", stream.local, stream.remote)


class Stream:
    """Bytes of one service in both directions."""

    def __init__(self, link, local, remote):
        self.local, self.remote = local, remote
        self._link = link
        self._incoming = asyncio.StreamReader()
        self._acknowledged = asyncio.Event()
        self._sending = asyncio.Lock()

    async def handle(self, command, data):
        if command == b"WRTE":
            self._incoming.feed_data(data)
            await self._link.send(b"OKAY", self.local, self.remote)
        elif command == b"OKAY":
            self._acknowledged.set()
        elif command == b"CLSE":
            self._incoming.feed_eof()

    async def read(self, count: int) -> bytes:
        return await self._incoming.readexactly(count)

    async def closed(self):
        """Returns when the client has closed the stream; what it still sent is lost."""
        while await self._incoming.read(_CHUNK):
            pass

    async def write(self, data: bytes):
        async with self._sending:
            for start in range(0, len(data), _MAX_DATA):
                self._acknowledged.clear()
                await self._link.send(b"WRTE", self.local, self.remote, data[start : start + _MAX_DATA])
                await self._acknowledged.wait()


async def _run_command(device, stream, command, packets):
    """Runs a shell command; in `packets` (shell,v2) its outputs come apart and its exit status with them."""
    process = await device.run(command, errors_apart=packets)

    async def forward(pipe, number):
        while data := await pipe.read(_CHUNK):
            await stream.write(struct.pack("<BI", number, len(data)) + data if packets else data)

    async def finish():
        await asyncio.gather(forward(process.stdout, _STDOUT), *errors)
        status = await process.wait()
        if packets:
            await stream.write(struct.pack("<BIB", _EXIT, 1, status if status >= 0 else 0x80 - status))

    errors = [forward(process.stderr, _STDERR)] if packets else []
    tasks = {asyncio.create_task(finish()), asyncio.create_task(stream.closed())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        if process.returncode is None:
            device.hang_up(process)


class Sync:
    """The service that moves files."""

    def __init__(self, device, stream):
        self._faults, self._system = device.faults, device.system
        self._drop = device.drop
        self._stream = stream

    async def serve(self):
        while True:
            request, length = struct.unpack("<4sI", await self._stream.read(8))
            path = (await self._stream.read(length)).decode()
            if request == b"QUIT":
                return
            await self._requests[request](self, request, path)

    async def _status(self, request, path):
        await self._stream.write(request + self._facts(request, self._system.host_path(path)))

    @staticmethod
    def _facts(request, path) -> bytes:
        """What is known of a file: mode, size, time, and in the second version more than anybody needs."""
        second_version = request in (b"STA2", b"LST2", b"LIS2")
        try:
            found = os.stat(path)
        except FileNotFoundError as error:
            return struct.pack("<I64x", error.errno) if second_version else bytes(12)
        mode, size, time = found.st_mode, found.st_size, int(found.st_mtime)
        if second_version:
            return struct.pack("<IQQIIIIQqqq", 0, 1, found.st_ino, mode, 1, 2000, 2000, size, time, time, time)
        return struct.pack("<III", mode, size, time)

    async def _list(self, request, path):
        entry = b"DENT" if request == b"LIST" else b"DNT2"
        folder = self._system.host_path(path)
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            facts = self._facts(request, os.path.join(folder, name))
            await self._stream.write(entry + facts + struct.pack("<I", len(name.encode())) + name.encode())
        await self._stream.write(b"DONE" + bytes(16 if request == b"LIST" else 72))

    async def _receive_push(self, request, path):
        if request == b"SEND":
            path, _, mode = path.rpartition(",")
        else:
            mode, _flags = struct.unpack("<4xII", await self._stream.read(12))
        content = bytearray()
        while (header := struct.unpack("<4sI", await self._stream.read(8)))[0] == b"DATA":
            content += await self._stream.read(header[1])
            if self._faults.unplug_push is not None and len(content) >= self._faults.unplug_push:
                self._store(path, content, mode)  # what had arrived stays there, cut off
                self._drop()
        error = self._store(path, content, mode)
        reply = b"FAIL" + struct.pack("<I", len(error)) + error if error else b"OKAY" + bytes(4)
        await self._stream.write(reply)

    def _store(self, path, content, mode) -> bytes:
        """Writes a file that was pushed; what went wrong, if anything."""
        room = len(content) if self._faults.room is None else self._faults.room
        kept = len(content) // 2 if self._faults.shorten_push else min(room, len(content))
        try:
            with open(self._system.host_path(path), "wb") as file:
                file.write(content[:kept])
            os.chmod(file.name, int(mode) & 0o777)
        except OSError as error:
            return f"couldn't create file: {error.strerror}".encode()
        return b"write failed: No space left on device" if room < len(content) else b""

    async def _send_pull(self, request, path):
        if request == b"RCV2":
            await self._stream.read(8)  # its name again, and how to compress: not at all
        try:
            with open(self._system.host_path(path), "rb") as file:
                content = file.read()
        except OSError as error:
            message = f"open failed: {error.strerror}".encode()
            return await self._stream.write(b"FAIL" + struct.pack("<I", len(message)) + message)
        if self._faults.shorten_pull:
            content = content[: len(content) // 2]
        if self._faults.unplug_pull is not None:
            await self._stream.write(b"DATA" + struct.pack("<I", _CHUNK) + content[: self._faults.unplug_pull])
            return self._drop()
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK]
            await self._stream.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        await self._stream.write(b"DONE" + bytes(4))

    _requests = {  # noqa: RUF012
        b"STAT": _status,
        b"STA2": _status,
        b"LST2": _status,
        b"LIST": _list,
        b"LIS2": _list,
        b"SEND": _receive_push,
        b"SND2": _receive_push,
        b"RECV": _send_pull,
        b"RCV2": _send_pull,
    }
