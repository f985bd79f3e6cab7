"""Workbooks are read in a child process with limits of memory and time: a damaged or hostile file
ends there, in one sentence.

Decides how much a workbook may cost, and what is said of one that costs more or breaks its reader
(python-calamine is written in another language: a wrong byte may end the process that runs it, or
ask for all memory there is). What the cells mean is left to ``xlsx`` and ``xls``, which run in the
child, and to ``workbook``, which runs here.

The child is a Python without this program's environment, so without its secrets, and in a process
group of its own, so that Ctrl-C is not its to obey. Both sides speak JSON, a line each: the child
sends the sheets, gets the place of one, and sends its rows. Memory: Linux by ``RLIMIT_AS``, Windows
by a job object; macOS has no such limit (reported: it rejects it), so time alone bounds it there.
Time is the processor's (``RLIMIT_CPU``), so a busy machine makes no honest file slow; each row that
was sent allows more. By the wall's clock it may take half as long again, and longer only where the
machine says that more want its processors than there are: a thread of C ends it then, less the time
of waiting for us.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Final, Literal, NoReturn

import attrs

from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load.readers import xls, xlsx
from alma_async.load.readers.files import readable
from alma_async.load.readers.sheets import Odd, SheetEntry, SheetRow
from alma_async.load.row import InputError

__all__ = ["OpenBook", "opened", "serve"]

WorkbookKind = Literal["xlsx", "xls"]

MEMORY: Final = 400 * 2**20  # bytes; a list of a million titles takes a fourth of it
# Of the processor's time, and so many more for each MiB of the file and each row that was sent;
# measured: all in all 0.000055 a row of nine cells, 1.1 a MiB.
SECONDS: Final = 10.0
SECONDS_A_MIB: Final = 0.7
SECONDS_A_ROW: Final = 0.0001
SECONDS_AT_ALL: Final = 18.0  # before the first row was sent
# By the wall's clock it may take so many times as long, and longer on a
# machine that does much else.
SHARE: Final = 1.5
_MOST_SHARE: Final = 10.0
LONGEST: Final = 2**23  # bytes of one row
_FULL: Final = 2**16  # bytes that are written at once
_LARGEST: Final = 2**32  # bytes of the temporary file of texts

_SAVE: Final = (
    "Nothing was sent. Open it in Excel or LibreOffice and save it again as .xlsx, or as text (CSV)."
)
_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")
# The exit codes that ``faulthandler`` and ``RLIMIT_CPU`` give; anything else that goes wrong
# is sent before the end.
_TIME_IS_UP: Final = (1, -getattr(signal, "SIGXCPU", 0) or 1)

# Packages are stood in for, since the real ones import the whole client.
_PROGRAM: Final = """
import json, os, sys, types
sys.path[:], root, kind, path = json.loads(sys.argv[1])
for name in ("alma_async", "alma_async.load", "alma_async.load.readers"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = ["/".join((root, *name.split(".")[1:]))]
try:
    from alma_async.load.readers.child import serve
    serve(kind, path)
finally:
    os._exit(3)
"""


@attrs.frozen
class OpenBook:
    """A workbook that a child process has open."""

    path: Path
    entries: tuple[SheetEntry, ...]
    _process: subprocess.Popen[bytes]

    def rows(self, entry: SheetEntry) -> Iterator[SheetRow]:
        """The rows of one of its sheets; to be asked once."""
        with _answers(self.path):
            assert self._process.stdin is not None  # noqa: S101 - for mypy: it was made with one
            self._process.stdin.write(b"%d\n" % self.entries.index(entry))
            self._process.stdin.flush()
        while True:
            with _answers(self.path):
                answer = _next(self.path, self._process)
                if answer is None:
                    return
                number, hidden, cells, struck = answer
                texts = [one if isinstance(one, str) else Odd(*one) for one in cells]
                row = SheetRow(number, hidden, texts, struck)
            yield row


@contextmanager
def opened(path: Path, kind: WorkbookKind) -> Iterator[OpenBook]:
    """The workbook, open in a child process that ends with the block.

    :raises InputError: where it cannot be read, or not within its limits.
    """
    if kind == "xls" and find_spec("python_calamine") is None:
        advice = "Install alma-async[cli], or save the workbook as .xlsx."
        raise ConfigurationError(f"{path} is an .xls workbook, which python-calamine reads.", advice=advice)
    with readable(path):
        path.open("rb").close()
    process = _started(path, kind)
    try:
        with _answers(path):
            entries = tuple(SheetEntry(*one) for one in _next(path, process) or ())
        yield OpenBook(path, entries, process)
    finally:
        process.kill()
        process.communicate()


def _started(path: Path, kind: WorkbookKind) -> subprocess.Popen[bytes]:
    places = [place or str(Path.cwd()) for place in sys.path]
    start = json.dumps((places, str(Path(__file__).parents[2]), kind, str(path.absolute())))
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-I", "-c", _PROGRAM, start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: value for name in _KEPT if (value := os.environ.get(name))},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        failure = f"{path} is a workbook, and no process can be started to read it: {error.strerror}."
    raise InputError(failure, advice="Save it as text (CSV), or free some memory.")


def _next(path: Path, process: subprocess.Popen[bytes]) -> Any:
    """The child's next answer. Where it ended without one, that is the error."""
    assert process.stdout is not None  # noqa: S101 - for mypy: it was made with one
    line = process.stdout.readline(LONGEST + 1)
    if not line.endswith(b"\n"):
        raise _ended(path, _code(process) if len(line) <= LONGEST else 0)
    what, *answer = json.loads(line)
    if what == "rejected":
        raise InputError(answer[0], advice=answer[1])
    return answer[0]


def _code(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:  # it closed its output and goes on
        return 0


def _ended(path: Path, code: int) -> InputError:
    if code in _TIME_IS_UP:
        return InputError(f"{path} takes longer to read than any workbook of its size should.", advice=_SAVE)
    return InputError(
        f"{path} is damaged: its reader broke off, or asked for more memory than any workbook needs.",
        advice=_SAVE,
    )


@contextmanager
def _answers(path: Path) -> Iterator[None]:
    """What the child says is as little trusted as the file."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError):
        strange = True
    else:
        return
    if strange:
        raise InputError(f"{path} is damaged: its reader gave no rows.", advice=_SAVE)


# --- in the child


def serve(kind: WorkbookKind, name: str) -> NoReturn:
    """Send the sheets of a workbook, then the rows of the one that is requested."""
    path, out = Path(name), sys.stdout.buffer
    watch = _Watch(min(SECONDS + SECONDS_A_MIB * path.stat().st_size / 2**20, SECONDS_AT_ALL))
    _limit_memory(MEMORY)
    try:
        _serve(xlsx if kind == "xlsx" else xls, path, out, watch)
    except AlmaError as error:
        _reject(out, error.message, error._advice)
    except (MemoryError, RecursionError):
        _reject(out, f"{path} needs more memory than any workbook should ({MEMORY // 2**20} MiB).", _SAVE)
    except BaseException as error:  # noqa: BLE001 - a panic of the other language is one, too
        _reject(out, f"{path} is damaged: its reader failed ({type(error).__name__}).", _SAVE)
    watch.stop()
    out.flush()
    os._exit(0)  # nothing of what the reader left behind is cleared up


def _serve(reader: Any, path: Path, out: IO[bytes], watch: _Watch) -> None:
    watch.start()
    entries = reader.entries(path)
    watch.stop()
    out.write(_line(entries))
    out.flush()
    if not (asked := sys.stdin.buffer.readline()):
        return
    watch.start()
    waiting: list[bytes] = []
    size = 0
    for row in reader.rows(path, entries[int(asked)]):
        waiting.append(_line(row))
        size += len(waiting[-1])
        if len(waiting[-1]) > LONGEST:
            raise InputError(f"{path} is no list: row {row.number} has more than {LONGEST:,} characters.")
        if size > _FULL:
            watch.stop()
            out.write(b"".join(waiting))
            out.flush()
            watch.allow(len(waiting) * SECONDS_A_ROW)
            waiting.clear()
            size = 0
            watch.start()
    watch.stop()
    out.write(b"".join((*waiting, _line(None))))


def _line(answer: Any) -> bytes:
    return json.dumps(("is", answer)).encode() + b"\n"


def _reject(out: IO[bytes], message: str, advice: str) -> None:
    out.write(json.dumps(("rejected", message, advice)).encode() + b"\n")


class _Watch:
    """Ends this process when it has worked for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._allowed = self._left = self._since = 0.0
        self._share = _share()
        self.allow(seconds)
        self._nowhere = Path(os.devnull).open("wb")  # noqa: SIM115 - for as long as the process lives

    def allow(self, seconds: float) -> None:
        """So many seconds more."""
        self._allowed += seconds
        self._left += seconds * self._share
        if sys.platform != "win32":
            import resource

            most = resource.getrlimit(resource.RLIMIT_CPU)[1]
            wanted = math.ceil(self._allowed)
            resource.setrlimit(resource.RLIMIT_CPU, (wanted if most < 0 else min(wanted, most), most))

    def start(self) -> None:
        self._since = perf_counter()
        faulthandler.dump_traceback_later(max(self._left, 0.001), exit=True, file=self._nowhere)

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._left -= perf_counter() - self._since


def _share() -> float:
    """How much longer than its processor's time a work may take, by how many
    processes want a processor.
    """
    load = 1.0 if sys.platform == "win32" else os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(SHARE, SHARE * load), _MOST_SHARE)


def _limit_memory(most: int) -> None:
    """What asks for more is rejected by the system, if it knows such limits."""
    if sys.platform == "win32":
        _limit_on_windows(most)
    else:
        import resource

        limits = {
            resource.RLIMIT_AS: most,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_FSIZE: _LARGEST,
        }
        for what, limit in limits.items():
            with suppress(ValueError, OSError):  # macOS does not know the first; lower ones stay
                resource.setrlimit(what, (limit, limit))


def _limit_on_windows(most: int) -> None:
    """A job object of which this process is the only one (documented:
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION).
    """
    import ctypes

    class Limits(ctypes.Structure):
        _fields_ = (
            ("times", ctypes.c_int64 * 2),
            ("flags", ctypes.c_uint32),
            ("working_set", ctypes.c_size_t * 2),
            ("processes", ctypes.c_uint32),
            ("affinity", ctypes.c_size_t),
            ("classes", ctypes.c_uint32 * 2),
            ("transfers", ctypes.c_uint64 * 6),
            ("process_memory", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 3),
        )

    load: Callable[..., Any] = getattr(ctypes, "WinDLL")  # noqa: B009 - it is there on Windows alone
    kernel = load("kernel32")
    kernel.CreateJobObjectW.restype = kernel.GetCurrentProcess.restype = ctypes.c_void_p
    job, this = ctypes.c_void_p(kernel.CreateJobObjectW(None, None)), kernel.GetCurrentProcess()
    limits = Limits(flags=0x100, process_memory=most)  # JOB_OBJECT_LIMIT_PROCESS_MEMORY
    kernel.SetInformationJobObject(job, 9, ctypes.byref(limits), ctypes.sizeof(limits))
    kernel.AssignProcessToJobObject(job, ctypes.c_void_p(this))
