//! Flights: one fetch per object, streamed to all who want it (DESIGN D5).
//!
//! - [`Flights`]: the flights in the air, by key, seen by all workers.
//! - [`Flight`]: one fetch. Its *fill* (a task of the leader's worker, see `proxy::fill`) puts in
//!   what the origin sends; followers wait for the [`Head`], then read the body as it arrives.
//! - [`stream`]: the shared list of chunks with its window and its readers; [`windows`]: how much
//!   all of them hold.
//!
//! Dropping a [`Fill`] before it has told a head abandons the flight: followers fetch anew. Once
//! a body has begun, dropping it breaks every reader's message, never ends it cleanly.

pub mod stream;
pub mod windows;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cache::flight::stream::Stream;
use crate::cache::flight::windows::Windows;
use crate::observe::metrics::Metrics;

/// What followers learn of the answer. `T` is what the proxy shares with them.
#[derive(Debug)]
pub enum Head<T> {
    /// The origin has not answered yet.
    Pending,
    /// An answer for all whose request it fits.
    Shared(Arc<T>),
    /// The answer may not be shared: each fetches for itself, all together, and why.
    Released(&'static str),
    /// The fill ended without an answer: fetch anew.
    Abandoned,
}

impl<T> Clone for Head<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Pending => Self::Pending,
            Self::Shared(head) => Self::Shared(head.clone()),
            Self::Released(reason) => Self::Released(reason),
            Self::Abandoned => Self::Abandoned,
        }
    }
}

/// One fetch under way.
#[derive(Debug)]
pub struct Flight<T> {
    head: watch::Receiver<Head<T>>,
}

impl<T> Flight<T> {
    /// Waits for the head. Dropping the future leaves nothing behind.
    pub async fn head(&self) -> Head<T> {
        let mut head = self.head.clone();
        match head.wait_for(|head| !matches!(head, Head::Pending)).await {
            Ok(head) => head.clone(),
            Err(_) => Head::Abandoned,
        }
    }
}

const SHARDS: usize = 32;

struct Inner<T> {
    shards: Vec<Mutex<HashMap<Bytes, Arc<Flight<T>>>>>,
    hasher: RandomState,
    windows: Arc<Windows>,
    metrics: Arc<Metrics>,
}

/// The flights in the air. Cheap to clone.
pub struct Flights<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// What joining led to.
pub enum Joined<T> {
    /// Nobody fetches this yet: the caller does.
    Leader(Fill<T>, Arc<Flight<T>>),
    /// Somebody does.
    Follower(Arc<Flight<T>>),
}

impl<T> Flights<T> {
    /// No flights yet; their bodies are held by `windows`.
    pub fn new(windows: Arc<Windows>, metrics: Arc<Metrics>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { inner: Arc::new(Inner { shards, hasher: RandomState::new(), windows, metrics }) }
    }

    /// Joins the flight for `key`, or begins one.
    pub fn join(&self, key: &Bytes) -> Joined<T> {
        let mut shard = self.inner.shard(key).lock();
        if let Some(flight) = shard.get(key) {
            return Joined::Follower(flight.clone());
        }
        let (fill, flight) = self.fill(vec![key.clone()]);
        shard.insert(key.clone(), flight.clone());
        Joined::Leader(fill, flight)
    }

    /// The flight for `key`, if there is one in the air.
    pub fn find(&self, key: &Bytes) -> Option<Arc<Flight<T>>> {
        self.inner.shard(key).lock().get(key).cloned()
    }

    /// Nobody joins `flight` for `key` any more: what it brings is out of date. Those who have go on.
    pub fn outdated(&self, key: &Bytes, flight: &Arc<Flight<T>>) {
        self.inner.forget(key, flight);
    }

    /// A fetch that nobody else may join.
    pub fn solo(&self) -> (Fill<T>, Arc<Flight<T>>) {
        self.fill(Vec::new())
    }

    fn fill(&self, keys: Vec<Bytes>) -> (Fill<T>, Arc<Flight<T>>) {
        let (tell, head) = watch::channel(Head::Pending);
        let flight = Arc::new(Flight { head });
        self.inner.metrics.cache.flights.add(1);
        (Fill { tell, keys, flight: flight.clone(), flights: self.inner.clone() }, flight)
    }

    /// A body of no flight, held beside theirs: see [`Stream::new`].
    pub fn stream(&self, window: u64, kept: bool) -> Arc<Stream> {
        Stream::new(window, kept, self.inner.windows.clone())
    }

    /// How many flights can be joined now.
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// True when nothing is being fetched for the cache.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Inner<T> {
    /// Never another flight of the same key.
    fn forget(&self, key: &Bytes, flight: &Arc<Flight<T>>) {
        let mut shard = self.shard(key).lock();
        if shard.get(key).is_some_and(|own| Arc::ptr_eq(own, flight)) {
            shard.remove(key);
        }
    }

    fn shard(&self, key: &Bytes) -> &Mutex<HashMap<Bytes, Arc<Flight<T>>>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        &self.shards[index] // below SHARDS by the remainder, and there are SHARDS of them
    }
}

/// The leader's end of a flight. Exactly one exists for each.
pub struct Fill<T> {
    tell: watch::Sender<Head<T>>,
    keys: Vec<Bytes>,
    flight: Arc<Flight<T>>,
    flights: Arc<Inner<T>>,
}

impl<T> Fill<T> {
    /// Tells everybody who waits what the answer is.
    pub fn tell(&self, head: Head<T>) {
        self.tell.send_replace(head);
    }

    /// A body of this flight: see [`Stream::new`].
    pub fn stream(&self, window: u64, kept: bool) -> Arc<Stream> {
        Stream::new(window, kept, self.flights.windows.clone())
    }

    /// Lets those who look for `key` join this flight as well, unless they have one of their own.
    /// A flight that nobody may join stays so.
    pub fn also(&mut self, key: Bytes) {
        if self.keys.is_empty() || self.keys.contains(&key) {
            return;
        }
        let mut shard = self.flights.shard(&key).lock();
        if !shard.contains_key(&key) {
            shard.insert(key.clone(), self.flight.clone());
            drop(shard);
            self.keys.push(key);
        }
    }

    /// Takes the flight out of the list: from now on a request looks into the cache, or fetches.
    pub fn land(&mut self) {
        for key in self.keys.drain(..) {
            self.flights.forget(&key, &self.flight);
        }
    }
}

impl<T> Drop for Fill<T> {
    fn drop(&mut self) {
        self.land();
        self.tell.send_if_modified(|head| {
            let abandoned = matches!(head, Head::Pending);
            if abandoned {
                *head = Head::Abandoned;
            }
            abandoned
        });
        self.flights.metrics.cache.flights.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flights() -> Flights<u32> {
        Flights::new(Arc::new(Windows::unbounded()), Metrics::new(1))
    }

    #[tokio::test]
    async fn followers_get_what_the_leader_tells() {
        let flights = flights();
        let key = Bytes::from_static(b"k");
        let Joined::Leader(fill, _) = flights.join(&key) else { panic!("first is leader") };
        let Joined::Follower(follower) = flights.join(&key) else { panic!("second follows") };
        fill.tell(Head::Shared(Arc::new(7)));
        assert!(matches!(follower.head().await, Head::Shared(seven) if *seven == 7));
    }

    #[tokio::test]
    async fn a_leader_that_vanishes_blocks_nobody() {
        let flights = flights();
        let key = Bytes::from_static(b"k");
        let Joined::Leader(fill, _) = flights.join(&key) else { panic!("first is leader") };
        let Joined::Follower(follower) = flights.join(&key) else { panic!("second follows") };
        drop(fill);
        assert!(matches!(follower.head().await, Head::Abandoned));
        assert!(matches!(flights.join(&key), Joined::Leader(..)), "the key is free again");
        assert!(flights.is_empty());
    }

    #[test]
    fn landing_removes_only_the_own_flight() {
        let flights = flights();
        let key = Bytes::from_static(b"k");
        let Joined::Leader(mut first, _) = flights.join(&key) else { panic!("leader") };
        first.land();
        let Joined::Leader(_second, _) = flights.join(&key) else { panic!("leader again") };
        drop(first);
        assert_eq!(flights.len(), 1, "the second flight is still in the air");
    }

    #[test]
    fn a_flight_can_be_joined_under_a_second_name() {
        let flights = flights();
        let (one, two) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
        let Joined::Leader(mut fill, _) = flights.join(&one) else { panic!("leader") };
        fill.also(two.clone());
        assert!(matches!(flights.join(&two), Joined::Follower(_)));
        let Joined::Leader(mut other, _) = flights.join(&Bytes::from_static(b"3")) else {
            panic!("leader")
        };
        other.also(two.clone());
        drop(other);
        assert!(flights.find(&two).is_some(), "not taken over by another");
        drop(fill);
        assert!(flights.find(&one).is_none() && flights.find(&two).is_none());
        let (mut solo, _) = flights.solo();
        solo.also(one.clone());
        assert!(flights.is_empty(), "solo stays solo");
    }
}
