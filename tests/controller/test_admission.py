"""What is always true of admission: capacity is kept, age counts, the head is never delayed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tesk.compute.backend import Capacity
from tesk.controller.admission import Need, admit, need, too_large
from tesk.store.rows import Waiting

GB = 10**9


def waiting(name, cpu=1.0, ram=0, disk=0, gpus=0):
    return Waiting(id=name, attempts=0, cpu_cores=cpu, ram_bytes=ram, disk_bytes=disk, gpus=gpus)


def ids(tasks):
    return [task.id for task in tasks]


def test_tasks_start_in_the_order_of_their_age():
    admission = admit(
        [waiting("a", 3), waiting("b", 4), waiting("c", 3)], [], Capacity(cpu_cores=8, ram_bytes=0, disk_bytes=0)
    )
    assert ids(admission.start) == ["a", "b"]


def test_a_task_that_can_never_fit_is_refused_with_what_it_asked_and_what_there_is():
    capacity = Capacity(cpu_cores=8, ram_bytes=16 * GB, disk_bytes=0)
    admission = admit([waiting("a", 64, 17 * GB), waiting("b")], [], capacity)
    assert ids(admission.start) == ["b"]
    assert admission.refuse[0].note == (
        "Can never run here: it asks for cpu_cores 64, ram_gb 17 and this server has cpu_cores 8, ram_gb 16 in all"
    )


def test_a_younger_task_passes_the_head_where_both_fit_whatever_ends_first():
    capacity = Capacity(cpu_cores=8, ram_bytes=0, disk_bytes=0)
    admission = admit([waiting("head", 4), waiting("young", 2)], [Need(6000, 0, 0)], capacity)
    assert ids(admission.start) == ["young"]


def test_a_younger_task_waits_where_it_could_be_in_the_way_of_the_head():
    # When the task of 2 cores ends the head fits at once, but not beside another 2 cores.
    capacity = Capacity(cpu_cores=8, ram_bytes=0, disk_bytes=0)
    admission = admit([waiting("head", 4), waiting("young", 2)], [Need(4000, 0, 0), Need(2000, 0, 0)], capacity)
    assert admission.start == ()


def test_a_backend_that_queues_by_itself_gets_everything():
    assert ids(admit([waiting("a", 1000)], [], None).start) == ["a"]


def test_fractions_of_cores_add_up_exactly():
    tasks = [waiting(str(number), 0.1) for number in range(11)]
    assert len(admit(tasks, [], Capacity(cpu_cores=1, ram_bytes=0, disk_bytes=0)).start) == 10


wanted = st.tuples(st.floats(0, 4), st.integers(0, 8), st.integers(0, 8))


def test_gpus_that_another_task_has_are_waited_for_and_nobody_younger_takes_them_first():
    capacity = Capacity(cpu_cores=8, ram_bytes=0, disk_bytes=0, gpus=2)
    tasks = [waiting("both", gpus=2), waiting("one", gpus=1), waiting("none"), waiting("three", gpus=3)]
    admission = admit(tasks, [Need(1000, 0, 0, 1)], capacity)
    assert ids(admission.start) == ["none"]
    (refused,) = admission.refuse
    assert refused.note == "Can never run here: it asks for gpu_count 3 and this server has gpu_count 2 in all"
    assert ids(admit(tasks[:1], [], capacity).start) == ["both"]


@given(st.lists(wanted, max_size=8), wanted)
def test_what_admission_refuses_is_what_is_too_large_by_itself(asked, total):
    capacity = Capacity(cpu_cores=total[0], ram_bytes=total[1], disk_bytes=total[2])
    tasks = [waiting(str(number), *size) for number, size in enumerate(asked)]
    assert too_large(tasks, capacity) == admit(tasks, [], capacity).refuse


sizes = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 2))


def total(needs):
    return sum(needs, Need(0, 0, 0))


def as_tasks(asked):
    return [waiting(str(number), *size) for number, size in enumerate(asked)]


def as_needs(held):
    return [Need(cpu * 1000, *others) for cpu, *others in held]


def fitting(held, capacity):
    """Return as many of `held` as fit together, as a running server would have let in."""
    taken = []
    for one in as_needs(held):
        if total([*taken, one]).within(need(capacity)):
            taken.append(one)
    return taken


@given(asked=st.lists(sizes, max_size=12), held=st.lists(sizes, max_size=8), has=sizes)
def test_what_runs_never_exceeds_what_there_is(asked, held, has):
    capacity = Capacity(cpu_cores=has[0], ram_bytes=has[1], disk_bytes=has[2], gpus=has[3])
    running = fitting(held, capacity)
    admission = admit(as_tasks(asked), running, capacity)
    assert total([*running, *(need(task) for task in admission.start)]).within(need(capacity))
    for refused in admission.refuse:
        assert not need(refused.task).within(need(capacity))


@given(asked=st.lists(sizes, max_size=12), held=st.lists(sizes, max_size=8), has=sizes)
def test_the_oldest_that_fits_always_starts(asked, held, has):
    capacity = Capacity(cpu_cores=has[0], ram_bytes=has[1], disk_bytes=has[2], gpus=has[3])
    running = fitting(held, capacity)
    admission = admit(as_tasks(asked), running, capacity)
    refused = set(ids(task.task for task in admission.refuse))
    first = next((task for task in as_tasks(asked) if task.id not in refused), None)
    if first is not None and total([*running, need(first)]).within(need(capacity)):
        assert admission.start[0].id == first.id


@settings(max_examples=300)
@given(data=st.data(), asked=st.lists(sizes, min_size=1, max_size=10), held=st.lists(sizes, max_size=7), has=sizes)
def test_the_head_starts_no_later_than_without_the_younger_ones_in_whatever_order_tasks_end(data, asked, held, has):
    """Younger ones pass in several looks and then run for ever; still the head starts at the very same end."""
    capacity = Capacity(cpu_cores=has[0], ram_bytes=has[1], disk_bytes=has[2], gpus=has[3])
    everything = need(capacity)
    running = fitting(held, capacity)
    first = admit(as_tasks(asked), running, capacity)
    gone = {*ids(first.start), *ids(refused.task for refused in first.refuse)}
    rest = [task for task in as_tasks(asked) if task.id not in gone]
    if not rest:
        return
    head = rest[0]
    before = [need(task) for task in first.start if int(task.id) < int(head.id)]
    alone, passed = [*running, *before], [need(task) for task in first.start if int(task.id) > int(head.id)]
    younger = rest[1:]
    for ended in data.draw(st.permutations(range(len(alone)))):
        ends = alone[ended]
        alone = [*alone[:ended], None, *alone[ended + 1 :]]
        assert ends is not None
        left = [taken for taken in alone if taken is not None]
        look = admit([head, *younger], [*left, *passed], capacity)
        fits_alone = total([*left, need(head)]).within(everything)
        assert (bool(look.start) and look.start[0].id == head.id) == fits_alone
        if fits_alone:
            return
        passed += [need(task) for task in look.start]
        younger = [task for task in younger if task.id not in ids(look.start)]


def test_a_look_at_many_different_sizes_is_bounded():
    running = [Need(1000 + 7**number % 997, 13**number % 99991, 0) for number in range(1, 400)]
    capacity = Capacity(cpu_cores=total(running).cpu_millicores / 1000, ram_bytes=10**9, disk_bytes=0)
    head = waiting("head", capacity.cpu_cores)
    assert admit([head, *(waiting(str(number)) for number in range(256))], running, capacity).start == ()
