//! Moves a body from the origin to the readers of a flight and into the store.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};

use crate::cache::flight::stream::End;
use crate::cache::pieces::Place;
use crate::cache::tiers::Tiers;
use crate::clock;
use crate::proxy::compress::Encoder;
use crate::proxy::fill::{Filling, Plan};
use crate::proxy::filling::{Coded, Gap};
use crate::proxy::sink::Sink;
use crate::semantics::coding::Coding;
use crate::upstream::{ResponseBody, UpstreamError};

/// A fill that nobody waits for goes on for this long whatever happens.
const ALONE: Duration = Duration::from_secs(2);
/// And longer only while the origin sends at least this many bytes a second.
const ALONE_RATE: u64 = 16 * 1024;

/// Moves a body, or a part of one, from the origin to readers and store.
pub(super) struct Pump<'a> {
    plan: &'a Plan,
    filling: &'a Filling,
    tiers: &'a Arc<Tiers>,
    gap: &'a Gap,
    identity: Sink,
    coded: Option<(&'a Coded, Encoder, Sink)>,
    kept: bool,
    received: u64,
    alone_since: Option<(u64, u64)>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(plan: &'a Plan, filling: &'a Filling, gap: &'a Gap) -> Self {
        let snapshot = &plan.view.snapshot;
        let segment = snapshot.cache.segment_size;
        let mut identity = Sink::new(gap.id, gap.from, segment, gap.len());
        if filling.gaps.len() > 1 || filling.base.is_some() {
            identity.in_segments(); // its readers may be far behind, reading what was held
        }
        Self {
            plan,
            filling,
            tiers: &plan.worker.house.tiers,
            gap,
            identity,
            coded: filling.coded.as_ref().map(|coded| {
                let encoder = Encoder::new(coded.coding, &snapshot.compression.levels);
                (coded, encoder, Sink::new(coded.id, 0, segment, None))
            }),
            kept: true,
            received: 0,
            alone_since: None,
        }
    }

    pub(super) async fn run(&mut self, mut body: ResponseBody) -> End {
        let mut trailers = None;
        loop {
            self.room().await;
            if self.is_forlorn() {
                return End::Broken;
            }
            match self.next(&mut body).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if self.take(data).await.is_err() {
                            return End::Broken;
                        }
                    }
                    Err(frame) => {
                        trailers = frame.into_trailers().ok().map(Arc::new);
                    }
                },
                Some(Err(error)) => {
                    tracing::debug!(%error, "the origin broke off");
                    return End::Broken;
                }
                None => break,
            }
        }
        if self.gap.len().is_some_and(|len| len != self.received) {
            return End::Broken; // other than its Content-Range said
        }
        if let Some((coded, encoder, sink)) = &mut self.coded {
            let Ok(last) = encoder.finish() else { return End::Broken };
            coded.stream.push(last.clone());
            self.kept &= sink.take(self.tiers, last).await;
        }
        End::Complete(trailers)
    }

    /// The next frame; what was fed to the encoder comes out when the origin pauses.
    async fn next(
        &mut self,
        body: &mut ResponseBody,
    ) -> Option<Result<Frame<Bytes>, UpstreamError>> {
        let coded = &mut self.coded;
        let tiers = self.tiers;
        let mut flushed = Bytes::new();
        let first = std::future::poll_fn(|cx| {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            if polled.is_pending()
                && let Some((_, encoder, _)) = coded
                && let Ok(out) = encoder.flush()
                && !out.is_empty()
            {
                flushed = out;
                return Poll::Ready(None);
            }
            polled.map(Some)
        })
        .await;
        if let Some(frame) = first {
            return frame;
        }
        if let Some((coded, _, sink)) = &mut self.coded {
            coded.stream.push(flushed.clone());
            self.kept &= sink.take(tiers, flushed).await;
        }
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    }

    /// `Err`: the encoder failed, and what its readers got would lack a part.
    async fn take(&mut self, data: Bytes) -> io::Result<()> {
        self.received += data.len() as u64;
        let cache = &self.plan.view.snapshot.cache;
        if self.kept && (self.received > cache.max_object || !self.tiers.can_keep(self.received)) {
            self.kept = false;
        }
        // Into the store first: what leaves the window must be there.
        if self.kept {
            self.kept = self.identity.take(self.tiers, data.clone()).await;
        }
        if let Some((coded, encoder, sink)) = &mut self.coded {
            let out = encoder.feed(&data)?;
            if self.kept {
                self.kept = sink.take(self.tiers, out.clone()).await;
            }
            coded.stream.push(out);
        }
        self.gap.stream.push(data);
        if !self.kept {
            self.gap.stream.not_kept();
            if let Some((coded, ..)) = &self.coded {
                coded.stream.not_kept();
            }
        }
        Ok(())
    }

    /// Waits until a body that is not kept has been read far enough.
    async fn room(&self) {
        let identity = &self.gap.stream;
        let coded = self.coded.as_ref().map(|(coded, ..)| &coded.stream);
        std::future::poll_fn(|cx| {
            // Paced by whoever reads: the faster of the two streams' readers.
            if let Some(coded) = coded
                && coded.readers() > 0
                && (identity.readers() == 0 || coded.poll_room(cx).is_ready())
            {
                return coded.poll_room(cx);
            }
            identity.poll_room(cx)
        })
        .await;
    }

    /// Nobody waits, and it is not worth going on (DESIGN D5).
    fn is_forlorn(&mut self) -> bool {
        if self.filling.readers() > 0 {
            self.alone_since = None;
            return false;
        }
        let now = clock::monotonic_ms();
        let (since, bytes) = *self.alone_since.get_or_insert((now, self.received));
        let alone = now.saturating_sub(since);
        if u128::from(alone) < ALONE.as_millis() {
            return false;
        }
        let rate = (self.received - bytes).saturating_mul(1000) / alone.max(1);
        !self.kept || self.gap.to.is_none() || rate < ALONE_RATE
    }

    /// Where all that came is, if `end` is its end. `None`: it is not kept, and nothing of it is
    /// left behind.
    pub(super) async fn finish(&mut self, end: &End) -> Option<Place> {
        let place = match end {
            End::Complete(_) if self.kept => self.identity.finish(self.tiers).await,
            _ => None,
        };
        if place.is_none() {
            self.discard();
        }
        place
    }

    /// Where the coded body is, if one was made of a body of `len` bytes that was worth it. `Err`:
    /// it is lost, and the body with it.
    pub(super) async fn finish_coded(&mut self, len: u64) -> Result<Option<(Coding, Place)>, ()> {
        let Some((coded, _, sink)) = &mut self.coded else { return Ok(None) };
        if len < self.plan.view.snapshot.compression.min_size {
            return Ok(None);
        }
        let (coding, place) = (coded.coding, sink.finish(self.tiers).await);
        let Some(place) = place else {
            self.discard();
            return Err(());
        };
        self.plan.worker.house.metrics.cache.compressed.inc();
        Ok(Some((coding, place)))
    }

    fn discard(&self) {
        self.identity.discard(self.tiers);
        if let Some((_, _, sink)) = &self.coded {
            sink.discard(self.tiers);
        }
    }
}
