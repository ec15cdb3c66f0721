//! How many connections an origin may have, over all workers, and who gets the next one.
//!
//! Idle connections belong to their worker and take a slot, too. So that they never starve
//! another worker, who waits for a slot closes an idle connection elsewhere, and a connection
//! that becomes free while others wait goes to the next of them instead of becoming idle.
//!
//! (Not tokio's semaphore: a waiter here takes either a slot or a connection, whichever comes.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::connection::Connection;

/// A waiter on another worker that has waited longer than this goes before one on the worker
/// where a connection became free. Before, reuse is worth more than the order.
const FOREIGN_PATIENCE: Duration = Duration::from_millis(20);

/// All slots of one origin.
#[derive(Debug)]
pub(super) struct Slots(Mutex<State>);

#[derive(Debug)]
struct State {
    max: usize,
    open: usize,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    pool: usize,
    since: Instant,
    tell: oneshot::Sender<Grant>,
}

/// What a waiter gets.
#[derive(Debug)]
pub(super) enum Grant {
    /// The right to open a connection.
    Slot(Slot),
    /// A connection of its own worker that has become free.
    Connection(Box<Connection>),
}

/// What asking for a slot brings.
pub(super) enum Asked {
    Slot(Slot),
    Wait(oneshot::Receiver<Grant>),
}

impl State {
    /// Who gives up leaves its place in the queue; all wait equally long, so it comes to the front.
    fn forget_those_who_left(&mut self) {
        while self.queue.front().is_some_and(|waiter| waiter.tell.is_closed()) {
            self.queue.pop_front();
        }
    }
}

impl Slots {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { max, open: 0, queue: VecDeque::new() })))
    }

    /// Takes over a changed bound. Connections above a smaller one go as they end.
    pub(super) fn set_max(self: &Arc<Self>, max: usize) {
        let free = {
            let mut state = self.0.lock();
            state.max = max;
            max.saturating_sub(state.open).min(state.queue.len())
        };
        for _ in 0..free {
            if let Some(slot) = self.take() {
                drop(slot); // goes to the first who waits
            }
        }
    }

    /// A slot, or a place in the queue of those who wait.
    pub(super) fn ask(self: &Arc<Self>, pool: usize) -> Asked {
        let mut state = self.0.lock();
        if state.open < state.max {
            state.open += 1;
            return Asked::Slot(Slot(Some(Arc::clone(self))));
        }
        state.forget_those_who_left();
        let (tell, told) = oneshot::channel();
        state.queue.push_back(Waiter { pool, since: Instant::now(), tell });
        Asked::Wait(told)
    }

    /// Does somebody wait?
    pub(super) fn is_awaited(&self) -> bool {
        !self.0.lock().queue.is_empty()
    }

    /// Gives a free connection of `pool` to who waits: to a waiter of that pool, or its slot to
    /// one of another. Comes back if nobody waits any more.
    pub(super) fn hand_over(
        &self,
        pool: usize,
        mut connection: Box<Connection>,
    ) -> Option<Box<Connection>> {
        loop {
            let waiter = {
                let mut state = self.0.lock();
                state.forget_those_who_left();
                let Some(first) = state.queue.front() else { return Some(connection) };
                let ours = state.queue.iter().position(|waiter| waiter.pool == pool);
                let foreign = first.pool != pool && first.since.elapsed() > FOREIGN_PATIENCE;
                match ours {
                    Some(at) if !foreign => state.queue.remove(at),
                    _ => None,
                }
            };
            let waiter = waiter?; // else it closes, and its slot goes to the first
            match waiter.tell.send(Grant::Connection(connection)) {
                Err(Grant::Connection(back)) => connection = back,
                Ok(()) | Err(Grant::Slot(_)) => return None,
            }
        }
    }

    fn take(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.0.lock();
        (state.open < state.max).then(|| {
            state.open += 1;
            Slot(Some(Arc::clone(self)))
        })
    }

    /// The next who waits, unless the bound has become smaller; else the slot is free.
    fn next_or_free(&self) -> Option<Waiter> {
        let mut state = self.0.lock();
        let next = if state.open <= state.max { state.queue.pop_front() } else { None };
        if next.is_none() {
            state.open = state.open.saturating_sub(1);
        }
        next
    }
}

/// The right to one open connection. Dropping it gives it to the next who waits.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Slots>>);

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(slots) = self.0.take() else { return };
        while let Some(waiter) = slots.next_or_free() {
            match waiter.tell.send(Grant::Slot(Slot(Some(Arc::clone(&slots))))) {
                // It gave up meanwhile: take the slot back (it must not drop) and go on.
                Err(Grant::Slot(mut back)) => drop(back.0.take()),
                Ok(()) | Err(Grant::Connection(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(asked: Asked) -> Slot {
        match asked {
            Asked::Slot(slot) => slot,
            Asked::Wait(_) => panic!("no slot"),
        }
    }

    fn wait(asked: Asked) -> oneshot::Receiver<Grant> {
        match asked {
            Asked::Slot(_) => panic!("a slot beyond the bound"),
            Asked::Wait(told) => told,
        }
    }

    #[test]
    fn slots_go_to_waiters_in_their_order_and_past_those_who_gave_up() {
        let slots = Slots::new(1);
        let held = slot(slots.ask(0));
        let gone = wait(slots.ask(0));
        let mut first = wait(slots.ask(1));
        let mut second = wait(slots.ask(0));
        drop(gone);
        drop(held);
        let granted = first.try_recv().unwrap();
        assert!(second.try_recv().is_err());
        drop(granted);
        drop(second.try_recv().unwrap());
        drop(slot(slots.ask(0)));
        assert_eq!(slots.0.lock().open, 0);
    }

    #[test]
    fn a_grant_that_nobody_takes_is_not_lost() {
        let slots = Slots::new(1);
        let held = slot(slots.ask(0));
        let unread = wait(slots.ask(0));
        drop(held); // granted to `unread`
        drop(unread);
        drop(slot(slots.ask(0)));
    }

    #[test]
    fn a_changed_bound_holds_at_once() {
        let slots = Slots::new(1);
        let one = slot(slots.ask(0));
        let mut waiting = wait(slots.ask(0));
        slots.set_max(2);
        let two = waiting.try_recv().unwrap();
        slots.set_max(1);
        drop(two);
        let _still_waits = wait(slots.ask(0));
        drop(one);
        assert_eq!(slots.0.lock().open, 1);
    }
}
