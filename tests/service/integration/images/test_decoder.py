"""Images are decoded where they can do no harm: in separate processes with limits."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from pillow_heif import register_heif_opener

from shop.images import decoder as module
from shop.images.decoder import Decoder
from shop.images.errors import DecoderEndedError, DecoderFailedError, ImageRefusedError
from shop.pixels import ConvertedImage, ImageRequest
from tests.processes import popen
from tests.service.variables import variable
from workshed.interrupts import thread_gate
from workshed.settings import settings

pytestmark = pytest.mark.one_in(2)  # each test starts its own programs

register_heif_opener()  # this registers the encoder too

WANTED = ImageRequest(
    width=80,
    height=60,
    quality=85,
    format="jpeg",
    suffix="",
    max_bytes=30_000_000,
    max_pixels=40_000_000,
    max_jpeg_pixels=40_000_000,
    max_frames=500,
)


@pytest.fixture
def configure(monkeypatch):
    """Change settings for one test."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable(name), str(value))
        settings.cache_clear()

    return change


@pytest.fixture
def decoders(tmp_path, monkeypatch):
    """`decoders(planted)`: a decoder whose processes first run these lines of Python."""
    monkeypatch.syspath_prepend(tmp_path)
    with contextlib.ExitStack() as opened:

        def one(planted=""):
            name = f"planted_{secrets.token_hex(6)}"
            lines = ["import sys", "from shop.pixels import child", planted]
            lines += ["child.main(sys.argv[1:])"]
            (tmp_path / f"{name}.py").write_text("\n".join(lines))
            made = Decoder(name) if planted else Decoder()
            opened.callback(made.close)
            return made

        yield one


@pytest.fixture
def decoder(decoders):
    return decoders()


def photo(kind="JPEG", size=(400, 300), **options):
    file = BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def file(tmp_path):
    """`file(data)`: an open file with this content."""
    with contextlib.ExitStack() as opened:

        def one(data=b""):
            path = tmp_path / secrets.token_hex(6)
            path.write_bytes(data)
            return opened.enter_context(path.open("r+b"))

        yield one


@pytest.fixture
def run(file, decoder):
    """`run(data, width=20, by=another)`: the resulting image, and its bytes."""

    def decode(data, by=None, **changes):
        target = file()
        wanted = ImageRequest(
            **{name: getattr(WANTED, name) for name in WANTED.__slots__} | changes
        )
        made = (by or decoder).decode(file(data), target, wanted)
        target.seek(0)
        return made, target.read()

    return decode


def pids(decoder):
    return {child.pid for child in decoder._processes}


def is_gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends during the read
        return True
    return state == "Z"


# One request


def test_an_image_is_made_in_another_process(run, decoder):
    made, data = run(photo())

    assert made == ConvertedImage("image/jpeg", 80, 60, 1)
    assert Image.open(BytesIO(data)).size == (80, 60)
    assert len(pids(decoder)) == 1


def test_the_position_of_the_files_does_not_matter(file, decoder):
    source, target = file(photo()), file(b"longer than what is made of it" * 1000)
    source.seek(100)
    target.seek(50)

    decoder.decode(source, target, WANTED)

    target.seek(0)
    assert Image.open(BytesIO(target.read())).size == (80, 60)


def test_a_refusal_has_its_reason(run, decoder):
    with pytest.raises(ImageRefusedError, match="it is an SVG") as refused:
        run(b"<svg/>")

    known = "AVIF, BMP, GIF, HEIC, JPEG, PNG, TIFF, WebP"
    assert refused.value.reason == f"it is an SVG, not one of {known}"


def test_a_file_that_cannot_be_written_is_not_the_images_fault(file, decoder, tmp_path):
    """A full disk is no broken image, which would be refused permanently."""
    with (
        Path("/dev/full").open("r+b", buffering=0) as full,
        pytest.raises(DecoderFailedError, match="No space left on device"),
    ):
        decoder.decode(file(photo()), full, WANTED)

    assert decoder.decode(file(photo()), file(), WANTED).width == 80


def test_the_module_decodes_as_well(file):
    assert module.decode(file(photo()), file(), WANTED).width == 80
    module._decoder.close()


# Reuse


def test_a_process_is_used_again(run, decoder):
    run(photo())
    first = pids(decoder)
    with pytest.raises(ImageRefusedError):
        run(b"<svg/>")
    run(photo())

    assert pids(decoder) == first


def test_a_process_is_replaced_after_many_images(run, decoder, monkeypatch):
    monkeypatch.setattr(module, "_MOST_IMAGES", 3)
    seen = []
    for _ in range(4):
        run(photo())
        seen.append(pids(decoder))

    assert seen[0] == seen[1]
    assert seen[2] == set()
    assert len(seen[3]) == 1
    assert all(is_gone(pid) for pid in seen[0])


def test_the_memory_of_one_image_is_used_for_the_next(run, decoder):
    """Otherwise the kernel clears every page again: 500 for each of these, 2 400 for a photo."""

    def faults():
        (pid,) = pids(decoder)
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])

    data = photo(size=(1600, 1200))
    for _ in range(3):
        run(data, width=800, height=600)
    before = faults()
    for _ in range(10):
        run(data, width=800, height=600)

    assert faults() - before < 1000


def test_threads_get_the_answers_to_their_own_questions(run, decoder, in_threads):
    def one(number):
        width = 8 + number
        made, data = run(photo(size=(400, 400)), width=width, height=width)
        assert (made.width, made.height) == (width, width)
        assert Image.open(BytesIO(data)).size == (width, width)

    in_threads(one, range(64), threads=8)

    assert 1 <= len(pids(decoder)) <= 8


def test_the_process_that_is_warm_is_taken_first(run, decoder, in_threads):
    together = threading.Barrier(3)

    def at_once(_):
        together.wait()
        run(photo())

    in_threads(at_once, range(3), threads=3)
    last = decoder._idle[-1].pid
    for _ in range(3):
        run(photo())
        assert decoder._idle[-1].pid == last


def test_an_idle_process_ends_by_itself_and_is_replaced(decoders, run, eventually):
    short = decoders("child.IDLE_S = 0.2")
    run(photo(), by=short)
    (first,) = pids(short)
    eventually(lambda: is_gone(first))

    made, _ = run(photo(), by=short)

    assert made.width == 80
    assert first not in pids(short)


def test_no_process_that_ended_idle_becomes_a_zombie(decoders, run, in_threads, eventually):
    short = decoders("child.IDLE_S = 0.5")
    together = threading.Barrier(3)

    def at_once(_):
        together.wait()
        run(photo(), by=short)

    in_threads(at_once, range(3), threads=3)
    first = pids(short)
    eventually(lambda: all(is_gone(pid) for pid in first))
    run(photo(), by=short)

    assert len(first) > 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in first)


def test_a_process_that_ends_just_when_it_is_asked_is_asked_no_more(decoders, run, monkeypatch):
    """The process ended after it was seen alive: the request is sent again to another one."""
    short = decoders("child.IDLE_S = 0.05")
    run(photo(), by=short)
    (child,) = short._processes
    child._process.wait()
    monkeypatch.setattr(type(child), "is_alive", True)

    assert run(photo(), by=short)[0].width == 80
    assert child.pid not in pids(short)


def test_a_process_that_ended_idle_exits_with_0(decoders, run):
    short = decoders("child.IDLE_S = 0.05")
    run(photo(), by=short)
    (child,) = short._processes

    assert child._process.wait(60) == 0


# Limits


@cache
def film(frames=150):
    """Return an animation of 800 by 600 pixels, in few bytes; each frame takes about 20 ms."""
    base = Image.radial_gradient("L").resize((800, 600)).point(lambda value: value & 0xF0)
    moved = [ImageChops.offset(base, 5 * at) for at in range(frames)]
    file = BytesIO()
    moved[0].save(file, "GIF", save_all=True, append_images=moved[1:], duration=40)
    return file.getvalue()


def test_an_image_that_needs_too_much_memory_is_refused(run, decoder, configure):
    configure(image_memory_bytes=256 << 20)
    file = BytesIO()
    Image.new("RGBA", (8000, 5000), (0, 0, 0, 7)).save(file, "PNG", compress_level=1)

    with pytest.raises(ImageRefusedError, match="it needs more than 256 MiB of memory"):
        run(file.getvalue())

    assert pids(decoder) == set()
    assert run(photo())[0].width == 80


def test_a_heic_that_needs_too_much_memory_is_refused(run, decoder, configure):
    """Its decoder reports that in its own words."""
    configure(image_memory_bytes=256 << 20)

    with pytest.raises(ImageRefusedError, match="it needs more than 256 MiB of memory"):
        run(heic((8064, 6048)), max_pixels=50_000_000)

    assert pids(decoder) == set()
    assert run(photo("HEIF"))[0].width == 80


@pytest.mark.exhaustive
def test_a_heic_of_48_megapixels_fits_into_the_memory_that_is_allowed(run):
    """The file consists of tiles, as phones write it."""
    made, _ = run(heic((8064, 6048)), width=800, height=600, max_pixels=50_000_000)

    assert (made.width, made.height) == (800, 600)


def test_an_animation_never_has_all_its_frames_in_memory(run, configure):
    """All 150 frames would take 288 MB."""
    configure(image_memory_bytes=256 << 20)

    assert run(film(), width=800, height=600)[0].frames == 150


@cache
def heic(size):
    """Return a HEIC of one colour, in few bytes; decoding costs as much as any of this size."""
    file = BytesIO()
    options = {"tile_size": 512, "enc_params": {"preset": "ultrafast"}}
    Image.new("RGB", size, "teal").save(file, "HEIF", **options)
    return file.getvalue()


def test_an_image_that_takes_too_long_is_refused(run, decoder, configure):
    configure(image_cpu=1)
    content = film()
    started = time.thread_time()

    with pytest.raises(ImageRefusedError, match="it takes more than 1 s of CPU"):
        run(content, width=800, height=600)

    assert time.thread_time() - started < 1  # the time is not spent here
    assert pids(decoder) == set()
    assert run(photo())[0].width == 80


def test_each_image_has_its_own_time(run, decoder, configure):
    """All images together take more than a second."""
    configure(image_cpu=1)
    large = photo("PNG", (2000, 1500))
    for _ in range(20):
        run(large, width=1900, height=1900)

    (pid,) = pids(decoder)
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    assert sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") > 1


ALMOST_ALL = """
import signal, time
real, receive, images = child.convert_image, child.socket.recv_fds, 0
def make(*all):
    global images
    images += 1
    while images > 1 and signal.getitimer(signal.ITIMER_PROF)[0] > 0.5:
        pass
    return real(*all)
def recv_fds(*all):
    end_s = time.process_time() + 1.2
    while images > 1 and time.process_time() < end_s:
        pass
    return receive(*all)
child.convert_image, child.socket.recv_fds = make, recv_fds
"""


def test_an_image_that_took_almost_all_its_time_takes_none_of_the_next_ones(
    decoders, run, configure
):
    """Otherwise the next image is refused permanently, because receiving it takes time too."""
    configure(image_cpu=2)
    slow = decoders(ALMOST_ALL)
    run(photo(), by=slow)  # the first one also spends time on imports

    for _ in range(2):
        assert run(photo(), by=slow)[0].width == 80
    assert len(slow._processes) == 1


def test_the_limits_are_those_of_the_settings(run, decoder, configure):
    configure(image_memory_bytes=300 << 20, image_cpu=7)
    run(photo())
    (pid,) = pids(decoder)

    limits = {
        line[:26].strip(): line[26:].split()[:2]
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
    }
    assert limits["Max address space"] == [str(300 << 20)] * 2
    assert limits["Max core file size"] == ["0", "0"]
    assert int(limits["Max open files"][1]) <= 64
    assert int(limits["Max file size"][1]) == 256 << 20


def test_the_process_knows_nothing_of_ours(run, decoder, configure, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    configure(database_url="postgresql://u:secret@127.0.0.1/x")
    run(photo())
    (pid,) = pids(decoder)

    given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert [name.split(b"=")[0] for name in given if name] == [b"PYTHONPATH"]
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert os.getsid(pid) == pid
    files = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    # A libffi with static trampolines keeps its own file open.
    files = [name for name in files if not Path(name).name.startswith("libffi.so")]
    assert sorted(name.split(":")[0] for name in files) == ["/dev/null"] * 3 + ["socket"]


# Ends of the process


def test_a_crash_refuses_the_image(decoders, run):
    crashing = decoders("import ctypes; child.convert_image = lambda *_: ctypes.string_at(0)")

    with pytest.raises(ImageRefusedError, match="it crashes the decoder with SIGSEGV"):
        run(photo(), by=crashing)


def test_a_crash_caused_by_an_earlier_image_refuses_no_image(decoders, run):
    """The second request crashes the process; without a second attempt the image would be lost."""
    crashing = decoders(
        "import ctypes\n"
        "made = []\n"
        "real = child.convert_image\n"
        "child.convert_image = lambda *all: "
        "ctypes.string_at(0) if made else made.append(1) or real(*all)"
    )

    for _ in range(3):
        assert run(photo(), by=crashing)[0].width == 80


def test_memory_kept_by_an_earlier_image_refuses_no_image(decoders, run):
    leaking = decoders(
        "made = []\n"
        "real = child.convert_image\n"
        "def make(*all):\n"
        "    if made:\n"
        "        raise MemoryError\n"
        "    made.append(1)\n"
        "    return real(*all)\n"
        "child.convert_image = make"
    )

    for _ in range(3):
        assert run(photo(), by=leaking)[0].width == 80


@contextlib.contextmanager
def in_mid_image(run, decoder, eventually):
    """A thread that waits for a slow image, its gate, and the error that it raised."""
    raised, gates = [], []

    def wait():
        gates.append(thread_gate())
        try:
            run(film(), by=decoder, width=800, height=600)
        except BaseException as err:  # noqa: BLE001 -- checked by the test
            raised.append(err)

    thread = threading.Thread(target=wait)
    thread.start()
    (pid,) = eventually(lambda: pids(decoder))
    ticks = Path(f"/proc/{pid}/stat")
    eventually(lambda: int(ticks.read_text().rpartition(")")[2].split()[11]) > 30)
    yield pid, thread, raised, gates[0]
    thread.join()


def test_a_process_that_is_killed_is_not_the_images_fault(run, decoder, eventually):
    """The kernel may kill any process when the machine is out of memory."""
    with in_mid_image(run, decoder, eventually) as (pid, thread, raised, _):
        os.kill(pid, signal.SIGKILL)
        thread.join()

    assert [type(err) for err in raised] == [DecoderEndedError]
    assert "was ended by SIGKILL" in str(raised[0])
    assert run(photo())[0].width == 80


def test_a_process_that_cannot_start_is_not_the_images_fault(decoders, run):
    broken = decoders("raise RuntimeError('no such library')")

    with pytest.raises(DecoderEndedError, match="ended with code 1"):
        run(photo(), by=broken)


def test_a_process_that_hangs_is_killed(decoders, run, monkeypatch, eventually):
    monkeypatch.setattr(module, "_SHORTEST_WAIT_S", 0.5)
    monkeypatch.setattr(module, "_WAIT_PER_CPU", 0)
    hanging = decoders("import time; child.convert_image = lambda *_: time.sleep(600)")

    with pytest.raises(DecoderEndedError, match=r"it had not answered after 0\.5 s"):
        run(photo(), by=hanging)

    assert pids(hanging) == set()


class Struck(BaseException):
    """An interrupt like dramatiq's time limit."""


def test_an_interrupt_ends_the_process_and_the_next_answer_is_right(run, decoder, eventually):
    """Otherwise the answer for this image would be taken for the next one's."""
    with in_mid_image(run, decoder, eventually) as (pid, thread, raised, its_gate):
        struck_at = time.monotonic()
        its_gate.interrupt(Struck)
        thread.join()
        assert time.monotonic() - struck_at < 45  # less than the minute allowed for an answer

    assert [type(err) for err in raised] == [Struck]
    assert is_gone(pid)
    assert run(photo(), width=33)[0].width == 33


def test_an_interrupt_strikes_while_the_process_works_and_nowhere_else(file, decoder, lane):
    """While it is taken or given back, the process would be lost and never end."""
    source, target = file(photo()), file()

    def strike(after_s):
        timer = threading.Timer(after_s, thread_gate().interrupt, [Struck])
        with contextlib.suppress(Struck):
            timer.start()
            while True:
                decoder.decode(source, target, WANTED)
        timer.join()

    for number in range(lane(sample=23, exhaustive=60)):
        strike(0.001 * (number % 23))

    assert len(pids(decoder)) <= 1
    assert {child.pid for child in decoder._idle} == pids(decoder)


# End of the parent process

PARENT = """
import sys, tempfile, threading
from pathlib import Path
from shop.images.decoder import Decoder
from shop.pixels import ImageRequest
decoder = Decoder()
wanted = ImageRequest(800, 800, 85, "jpeg", "", 30_000_000, 40_000_000, 40_000_000, 500)
def run(path):
    with open(path, "rb") as source, tempfile.TemporaryFile() as target:
        decoder.decode(source, target, wanted)
run(sys.argv[1])
(first,) = decoder._processes
thread = threading.Thread(target=run, args=[sys.argv[2]], daemon=True)
busy = threading.Thread(target=run, args=[sys.argv[2]], daemon=True)
thread.start()
busy.start()
while len(decoder._processes) < 2:
    pass
run(sys.argv[1])
print(*(child.pid for child in decoder._processes), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_no_process_outlives_its_parent(how, tmp_path, eventually):
    """Two of the three are decoding an image, and end when they cannot send their answer."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(photo())
    large.write_bytes(film())
    pipe = subprocess.PIPE
    with popen(
        [sys.executable, "-c", PARENT, small, large], stdin=pipe, stdout=pipe, text=True
    ) as parent:
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 3
        assert not any(is_gone(pid) for pid in children)
        if how:
            parent.send_signal(how)
        parent.stdin.close()

        eventually(lambda: all(is_gone(pid) for pid in children))


def test_a_fork_leaves_the_processes_to_its_parent(run, decoder, eventually):
    """A copy of the socket in a fork would keep an unused process alive."""
    run(photo())
    (pid,) = pids(decoder)
    (child,) = decoder._processes
    read_end, tell = os.pipe()
    fork = os.fork()
    if not fork:
        os.close(tell)
        os.read(read_end, 1)  # outlive the parent's decoder
        os._exit(len(decoder._processes))

    child._socket.close()  # as if the parent died
    eventually(lambda: is_gone(pid))
    os.close(tell)

    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0


def test_a_fork_has_processes_of_its_own(run, decoder):
    run(photo())
    before = pids(decoder)
    fork = os.fork()
    if not fork:
        code = 1
        with contextlib.suppress(BaseException):
            run(photo())
            code = int(not before.isdisjoint(pids(decoder)))
            decoder.close()
        os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    run(photo())
    assert pids(decoder) == before


FORKING = """
import gc, os, sys, tempfile
from shop.images.decoder import Decoder
from shop.pixels import ImageRequest
decoder = Decoder()
wanted = ImageRequest(80, 60, 85, "jpeg", "", 30_000_000, 40_000_000, 40_000_000, 500)
with open(sys.argv[1], "rb") as source, tempfile.TemporaryFile() as target:
    decoder.decode(source, target, wanted)
fork = os.fork()
gc.collect()
if fork:
    os.waitpid(fork, 0)
"""


def test_a_fork_gets_no_warnings_about_its_parents_processes(tmp_path):
    (tmp_path / "photo").write_bytes(photo())
    command = [sys.executable, "-W", "always", "-c", FORKING, tmp_path / "photo"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stderr == ""
