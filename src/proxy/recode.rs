//! Putting a coding on a stored body in segments: once, read from the store piece by piece,
//! streamed to all who ask for it meanwhile, and into the store as it comes out (DESIGN D6).
//!
//! A task of its own: a client that leaves takes nothing with it. Dropping it midway breaks every
//! reader's message and stores nothing.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cache::entry::{Entry, EntryId};
use crate::cache::flight::Flights;
use crate::cache::flight::stream::{End, StreamReader};
use crate::cache::tiers::Found;
use crate::proxy::ask::Ask;
use crate::proxy::body::{Broken, Source};
use crate::proxy::coding;
use crate::proxy::compress::Encoder;
use crate::proxy::fill::{Shared, entry_id};
use crate::proxy::filling::Coded;
use crate::proxy::inflow::body_at;
use crate::proxy::parts::Shelf;
use crate::proxy::sink::Sink;
use crate::proxy::worker::{House, Worker};
use crate::semantics::coding::Coding;

/// So many bodies are coded at once; who wants another gets it as it is.
const MOST: usize = 8;
/// Coded at once, before other requests of the worker have their turn.
const SLICE: usize = 32 << 10;

/// The bodies that are being coded, by their responses.
#[derive(Default)]
pub struct Recodings(Mutex<Vec<(EntryId, Arc<Coded>)>>);

/// A body as it comes out of its coder.
pub struct Coming {
    /// In this coding.
    pub coding: Coding,
    /// Names its segments.
    pub id: EntryId,
    /// From its first byte on.
    pub reader: StreamReader,
}

impl Coming {
    fn of(coded: &Coded) -> Self {
        Self { coding: coded.coding, id: coded.id, reader: coded.stream.reader() }
    }
}

/// What came of asking for a coded body.
pub enum Joined {
    /// It is being made.
    Coming(Coming),
    /// Somebody has made it just now.
    Stored(Arc<Entry>),
    /// The body is to be had as it is only.
    AsItIs,
}

enum Begun {
    Other(Coming),
    Own(Coming, Arc<Coded>, Claim),
    Done,
    TooMany,
}

impl Recodings {
    /// Joins who codes the body of `entry`, or begins to.
    fn begin(
        &self,
        flights: &Flights<Shared>,
        entry: &Arc<Entry>,
        coding: Coding,
        window: u64,
    ) -> Begun {
        let mut list = self.0.lock();
        let mut own = list.iter().filter(|(id, own)| *id == entry.id && own.coding == coding);
        if let Some((_, coded)) = own.next() {
            return Begun::Other(Coming::of(coded));
        }
        if list.len() >= MOST {
            return Begun::TooMany;
        }
        if !entry.claim_coding(coding) {
            return Begun::Done;
        }
        let claim = Claim { entry: entry.clone(), coding, done: false };
        let stream = flights.stream(window, true);
        let coded = Arc::new(Coded { coding, id: entry_id(), stream });
        list.push((entry.id, coded.clone()));
        Begun::Own(Coming::of(&coded), coded, claim)
    }

    fn end(&self, coded: &Arc<Coded>) {
        self.0.lock().retain(|(_, own)| !Arc::ptr_eq(own, coded));
    }
}

/// The body of `found` in `coding`: as somebody makes it, or made from now on.
///
/// # Errors
/// It is not there any more.
pub async fn join(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    found: &Found,
    coding: Coding,
) -> Result<Joined, Broken> {
    let (house, entry, snapshot) = (&worker.house, &found.entry, &ask.view.snapshot);
    let key = || found.variant.clone().unwrap_or_else(|| Bytes::copy_from_slice(primary));
    let coming = match house.recodings.begin(
        &house.flights,
        entry,
        coding,
        snapshot.cache.flight_window(),
    ) {
        Begun::Other(coming) => coming,
        Begun::Own(coming, coded, claim) => {
            let shelf = Shelf::of(worker, ask, entry.id, &entry.stored, Some(entry.identity.len()));
            let making = Making {
                key: key(),
                encoder: Encoder::new(coding, &snapshot.compression.levels),
                sink: Sink::new(coded.id, 0, snapshot.cache.segment_size, None),
                kept: true,
                house: house.clone(),
                coded,
                claim,
            };
            tokio::spawn(making.run(shelf.whole(&entry.identity, true)));
            coming
        }
        Begun::Done => {
            let latest = house.tiers.held(&key()).filter(|latest| latest.id == entry.id);
            return Ok(latest.map_or(Joined::AsItIs, Joined::Stored));
        }
        Begun::TooMany => return Ok(Joined::AsItIs),
    };
    // Before anything is promised to the client.
    if poll_fn(|cx| coming.reader.poll_begun(cx)).await {
        Ok(Joined::Coming(coming))
    } else {
        Err(Broken("a part of the stored body is gone"))
    }
}

/// Nobody else makes it meanwhile, nor again once it is stored.
struct Claim {
    entry: Arc<Entry>,
    coding: Coding,
    done: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.done {
            self.entry.release_coding(self.coding);
        }
    }
}

/// A body that is being made.
struct Making {
    house: Arc<House>,
    key: Bytes,
    coded: Arc<Coded>,
    encoder: Encoder,
    sink: Sink,
    kept: bool,
    claim: Claim,
}

impl Making {
    async fn run(mut self, source: Source) {
        if self.code(source).await.is_err() {
            self.sink.discard(&self.house.tiers);
            return;
        }
        let place = if self.kept { self.sink.finish(&self.house.tiers).await } else { None };
        let Some(place) = place else {
            self.coded.stream.end(End::Complete(None));
            return self.sink.discard(&self.house.tiers);
        };
        self.house.metrics.cache.compressed.inc();
        let (tiers, id) = (&self.house.tiers, &self.claim.entry.id);
        let kept = coding::put(tiers, self.key.clone(), id, self.coded.coding, body_at(place));
        self.coded.stream.end(End::Complete(None));
        self.claim.done = kept.is_some();
        if let Some((_, to_disk)) = kept {
            tiers.write_behind([to_disk]).await;
        }
    }

    /// `Err`: what its readers got lacks the rest.
    async fn code(&mut self, mut source: Source) -> io::Result<()> {
        while let Some(frame) = poll_fn(|cx| source.poll(cx)).await {
            let frame = frame.map_err(io::Error::other)?;
            let data = frame.into_data().unwrap_or_default(); // what is stored has no trailers
            for slice in data.chunks(SLICE) {
                let out = self.encoder.feed(slice)?;
                self.give(out).await;
                tokio::task::yield_now().await;
            }
            poll_fn(|cx| self.coded.stream.poll_room(cx)).await;
            if !self.kept && self.coded.stream.readers() == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        let last = self.encoder.finish()?;
        self.give(last).await;
        Ok(())
    }

    async fn give(&mut self, out: Bytes) {
        // Into the store first: what leaves the window must be there.
        if self.kept && !self.sink.take(&self.house.tiers, out.clone()).await {
            self.kept = false;
            self.house.recodings.end(&self.coded); // it has no beginning for those who come now
            self.coded.stream.not_kept();
        }
        self.coded.stream.push(out);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.house.recodings.end(&self.coded);
        self.coded.stream.end(End::Broken); // one that has ended is not changed
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::cache::entry::{Fields, StoredBody};
    use crate::cache::flight::windows::Windows;
    use crate::observe::metrics::Metrics;
    use crate::semantics::policy::Policy;
    use crate::semantics::storable;
    use crate::semantics::time::Timestamp;

    fn entry(number: u8) -> Arc<Entry> {
        let at = Timestamp::from_millis(1);
        let stored = storable::unstored(200, &HeaderMap::new(), &Policy::BARE, at, at);
        let mut entry = Entry::new(stored, Fields::default(), StoredBody::Inline(Bytes::new()), 0);
        entry.id = [number; 16];
        Arc::new(entry)
    }

    #[test]
    fn one_codes_for_all_and_not_too_many_do() {
        let recodings = Recodings::default();
        let flights = Flights::new(Arc::new(Windows::unbounded()), Metrics::new(1));
        let begin = |entry: &Arc<Entry>| recodings.begin(&flights, entry, Coding::Gzip, 10);
        let entries: Vec<_> = (0..=MOST as u8).map(entry).collect();
        let mut own: Vec<_> = entries[..MOST].iter().map(begin).collect();
        assert!(own.iter().all(|begun| matches!(begun, Begun::Own(..))));
        assert!(matches!(begin(&entries[0]), Begun::Other(_)), "the same one");
        assert!(matches!(begin(&entries[MOST]), Begun::TooMany));
        let Some(Begun::Own(_, coded, claim)) = own.pop() else { panic!("its own") };
        recodings.end(&coded);
        assert!(matches!(begin(&entries[MOST]), Begun::Own(..)), "there is room again");
        let Some(Begun::Own(_, other, mut done)) = own.pop() else { panic!("its own") };
        recodings.end(&other);
        assert!(matches!(begin(&entries[MOST - 1]), Begun::Done), "claimed still");
        drop(claim);
        let again = begin(&entries[MOST - 1]);
        assert!(matches!(again, Begun::Own(..)), "after one that failed");
        done.done = true;
        drop(done);
        if let Begun::Own(_, coded, _) = &again {
            recodings.end(coded);
        }
        assert!(matches!(begin(&entries[MOST - 2]), Begun::Done), "it is made");
    }
}
