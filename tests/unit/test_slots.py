from __future__ import annotations

import asyncio
import gc
import random
import threading
import time

import pytest

from langchain_aimlernie._transport.slots import AsyncTurn, Slots, Turn


class Asker:
    """Somebody who waits, or has left."""

    def __init__(self, *, gone=False):
        self.gone = gone
        self.slot = None

    def offer(self, slot, /):
        if not self.gone:
            self.slot = slot
        return not self.gone


def used(slots, line="line"):
    slot = slots.take()
    slot.line = line
    return slot


def test_there_are_as_many_slots_as_the_limit_says():
    slots = Slots(3)
    taken = [slots.take() for _ in range(3)]
    assert len(set(map(id, taken))) == 3
    assert slots.take() is None
    assert (slots.used, slots.idle, slots.waiting) == (3, 0, 0)
    for slot in taken:
        slots.give(slot)
    assert slots.is_unused


def test_the_connection_that_was_used_last_goes_first():
    slots = Slots(5)
    first, second = used(slots, "a"), used(slots, "b")
    slots.give(first)
    slots.give(second)
    assert slots.take() is second
    assert slots.take() is first
    assert slots.take().line is None


def test_those_who_wait_are_served_in_their_order_and_nobody_overtakes():
    slots = Slots(1)
    slot = used(slots)
    first, gone, second = Asker(), Asker(gone=True), Asker()
    for asker in (first, gone, second):
        slots.wait(asker)
    slots.give(slot)
    assert (first.slot, second.slot) == (slot, None)
    assert slots.take() is None, "somebody waits already"
    slots.give(slot)
    assert second.slot is slot
    slots.give(slot)
    assert slots.take() is slot


def test_a_slot_that_nobody_waits_for_any_more_is_not_lost():
    slots = Slots(1)
    slot = used(slots)
    slots.wait(Asker(gone=True))
    slots.give(slot)
    assert slots.take() is slot


def test_who_comes_to_wait_when_a_slot_is_free_is_served_at_once():
    slots = Slots(2)
    asker = Asker()
    slots.wait(asker)
    assert asker.slot is not None


def test_only_what_was_idle_long_enough_is_given_out_to_be_closed():
    slots = Slots(3)
    for when in (1.0, 2.0, 3.0):
        slot = slots.take()
        slot.line, slot.idle_since = f"idle since {when}", when
    taken = sorted(slots._taken, key=lambda slot: slot.idle_since)
    for slot in taken:
        slots.give(slot)
    assert slots.pop_idle(before=2.5).idle_since == 1.0
    assert slots.pop_idle(before=2.5).idle_since == 2.0
    assert slots.pop_idle(before=2.5) is None
    assert slots.idle == 1


def test_slots_of_an_earlier_era_do_not_come_back():
    slots = Slots(2)
    idle, taken = used(slots), used(slots)
    slots.give(idle)
    slots.forget()
    assert not slots.give(taken)
    assert slots.is_unused
    fresh = [slots.take(), slots.take()]
    assert idle not in fresh
    assert taken not in fresh
    assert slots.take() is None


def test_a_thread_waits_for_its_turn():
    slots = Slots(1)
    slot = used(slots)
    turn = Turn()
    slots.wait(turn)
    threading.Timer(0.05, slots.give, [slot]).start()
    assert turn.wait() is slot
    assert turn.leave() is slot, "it came, so it must be given back"


def test_a_thread_that_leaves_is_not_offered_a_slot():
    slots = Slots(1)
    slot = used(slots)
    turn = Turn()
    slots.wait(turn)
    assert turn.leave() is None
    slots.give(slot)
    assert slots.take() is slot


def test_a_task_that_leaves_is_not_offered_a_slot():
    async def main():
        slots = Slots(1)
        slot = used(slots)
        left, served = AsyncTurn(), AsyncTurn()
        slots.wait(left)
        slots.wait(served)
        assert left.leave() is None
        slots.give(slot)
        assert await served.wait() is slot
        assert served.leave() is slot

    asyncio.run(main())


def test_threads_share_slots_without_losing_or_doubling_one():
    slots = Slots(3)
    busy, most, done = set(), [], []

    def work(seed):
        chance = random.Random(seed)
        for _ in range(200):
            slot = slots.take()
            if slot is None:
                turn = Turn()
                slots.wait(turn)
                slot = turn.wait()
            assert slot not in busy
            busy.add(slot)
            most.append(len(busy))
            if chance.random() < 0.1:
                time.sleep(0)
            slot.line = "line" if chance.random() < 0.5 else None
            busy.discard(slot)
            slots.give(slot)
        done.append(seed)

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 8
    assert max(most) <= 3
    assert slots.used == 0
    assert [slots.take() is not None for _ in range(4)] == [True, True, True, False]


class GivesBackWhenCollected:
    def __init__(self, slots):
        self.slots, self.slot = slots, slots.take()
        self.cycle = self

    def __del__(self):
        self.slots.give(self.slot)


def test_the_collector_may_give_slots_back_at_any_moment():
    slots = Slots(50)
    gc.collect()
    for _ in range(2000):
        slot = slots.take()
        if slot is None:
            gc.collect()
            slot = slots.take()
        slots.give(slot)
        if random.random() < 0.5 and slots.used < 49:
            GivesBackWhenCollected(slots)
    gc.collect()
    assert slots.used == 0


@pytest.mark.parametrize("kind", [Turn, AsyncTurn])
def test_one_turn_takes_one_slot(kind):
    async def main():
        slots = Slots(2)
        turn = kind()
        assert turn.offer(slots.take())
        assert not turn.offer(slots.take())

    asyncio.run(main())
