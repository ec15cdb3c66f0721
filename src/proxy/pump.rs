//! Moves a body from the origin to the readers of a flight and into the store.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};

use crate::cache::entry::Entry;
use crate::cache::flight::stream::End;
use crate::cache::tiers::{Part, Tiers, ToDisk};
use crate::clock;
use crate::proxy::compress::Encoder;
use crate::proxy::fill::{Filling, Plan};
use crate::proxy::sink::Sink;
use crate::upstream::{ResponseBody, UpstreamError};

/// A fill that nobody waits for goes on for this long whatever happens.
const ALONE: Duration = Duration::from_secs(2);
/// And longer only while the origin sends at least this many bytes a second.
const ALONE_RATE: u64 = 16 * 1024;

/// Moves the body from the origin to readers and store.
pub(super) struct Pump<'a> {
    plan: &'a Plan,
    filling: &'a Filling,
    tiers: &'a Arc<Tiers>,
    identity: Sink,
    coded: Option<(Encoder, Sink)>,
    kept: bool,
    received: u64,
    alone_since: Option<(u64, u64)>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(plan: &'a Plan, filling: &'a Filling, tiers: &'a Arc<Tiers>) -> Self {
        let snapshot = &plan.view.snapshot;
        let segment = snapshot.cache.segment_size;
        let sink = |part| Sink::new(filling.id, part, segment, filling.len);
        Self {
            plan,
            filling,
            tiers,
            identity: sink(Part::Identity),
            coded: filling.coded.as_ref().map(|(coding, _)| {
                let encoder = Encoder::new(*coding, &snapshot.compression.levels);
                (encoder, Sink::new(filling.id, Part::Coded(*coding), segment, None))
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
        if let (Some((encoder, sink)), Some((_, stream))) = (&mut self.coded, &self.filling.coded) {
            let Ok(last) = encoder.finish() else { return End::Broken };
            stream.push(last.clone());
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
        let (filling, tiers) = (self.filling, self.tiers);
        let mut flushed = Bytes::new();
        let first = std::future::poll_fn(|cx| {
            let polled = Pin::new(&mut *body).poll_frame(cx);
            if polled.is_pending()
                && let Some((encoder, _)) = coded
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
        if let (Some((_, sink)), Some((_, stream))) = (&mut self.coded, &filling.coded) {
            stream.push(flushed.clone());
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
        if let (Some((encoder, sink)), Some((_, stream))) = (&mut self.coded, &self.filling.coded) {
            let out = encoder.feed(&data)?;
            if self.kept {
                self.kept = sink.take(self.tiers, out.clone()).await;
            }
            stream.push(out);
        }
        self.filling.identity.push(data);
        if !self.kept {
            self.filling.identity.not_kept();
            if let Some((_, coded)) = &self.filling.coded {
                coded.not_kept();
            }
        }
        Ok(())
    }

    /// Waits until a body that is not kept has been read far enough.
    async fn room(&self) {
        let (identity, coded) = (&self.filling.identity, &self.filling.coded);
        std::future::poll_fn(|cx| {
            // Paced by whoever reads: the faster of the two streams' readers.
            if let Some((_, coded)) = coded
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
        !self.kept || self.filling.len.is_none() || rate < ALONE_RATE
    }

    /// Forgets the segments of a body that did not come whole.
    pub(super) fn discard(&self) {
        self.identity.discard(self.tiers);
        if let Some((_, sink)) = &self.coded {
            sink.discard(self.tiers);
        }
    }

    /// Makes the entry and stores it. `None`: it is not kept.
    pub(super) async fn keep(&mut self, position: u64) -> Option<Vec<ToDisk>> {
        if !self.kept {
            self.discard();
            return None;
        }
        let tiers = self.tiers;
        let identity = self.identity.finish(tiers).await?;
        let filling = self.filling;
        let mut coded = Box::default();
        if let (Some((_, sink)), Some((coding, _))) = (&mut self.coded, &filling.coded)
            && identity.len() >= self.plan.view.snapshot.compression.min_size
        {
            self.plan.worker.house.metrics.cache.compressed.inc();
            coded = Box::new([(*coding, sink.finish(tiers).await?)]) as Box<[_]>;
        }
        let mut entry =
            Entry::new(filling.stored.clone(), filling.fields.clone(), identity, position);
        entry.coded = coded;
        entry.compressible = filling.compressible;
        entry.id = filling.id;
        if self.plan.forced {
            entry.set_forced(clock::now());
        }
        let primary = self.filling.place.clone();
        match &filling.varies {
            None => tiers.admit(primary, entry).ok().map(|(_, to_disk)| vec![to_disk]),
            Some(varies) => {
                let max = self.plan.view.snapshot.cache.max_variants;
                tiers.admit_variant(primary, varies.selected(), entry, max).await
            }
        }
    }
}
