//! The metrics of the disk tier.

use std::fmt;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::Out;
use crate::observe::metrics::Metrics;

pub(super) fn disk(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let disk = &metrics.disk;
    for (name, help, count) in [
        ("larder_disk_hits", "Lookups answered by the disk tier", &disk.hits),
        ("larder_disk_misses", "Lookups that the disk tier could not answer", &disk.misses),
        (
            "larder_disk_reads",
            "Lookups that read the disk, one for all who wait for it",
            &disk.reads,
        ),
        ("larder_disk_written", "Entries known to be on disk since the start", &disk.written),
        ("larder_disk_corrupt", "Entries whose bytes did not check out", &disk.corrupt),
        (
            "larder_disk_rewritten",
            "Entries written again because they are asked for and their place is soon reused",
            &disk.rewritten,
        ),
        (
            "larder_disk_emptied_blocks",
            "Blocks emptied early because memory has no room to index more entries",
            &disk.emptied,
        ),
        ("larder_disk_failures", "Times the disk tier was taken out", &disk.failures),
    ] {
        out.counter(name, help, count.get())?;
    }
    let help = "Entries not written to disk, by reason";
    out.family("larder_disk_drops", help, None, MetricType::Counter, |family| {
        for (reason, count) in [
            ("behind", disk.dropped_behind.get()),
            ("too_large", disk.dropped_too_large.get()),
            ("overflow", disk.overflows()),
        ] {
            let labels = [("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    })?;
    let help = "Failed reads and writes of the disk";
    out.family("larder_disk_errors", help, None, MetricType::Counter, |family| {
        for (op, count) in [("read", &disk.read_errors), ("write", &disk.write_errors)] {
            ConstCounter::new(count.get()).encode(family.encode_family(&[("op", op)])?)?;
        }
        Ok(())
    })?;
    let help = "Operations on the disk tier's files";
    out.family("larder_disk_io", help, None, MetricType::Counter, |family| {
        for (op, count) in [("read", &disk.io_reads), ("write", &disk.io_writes)] {
            ConstCounter::new(count.get()).encode(family.encode_family(&[("op", op)])?)?;
        }
        Ok(())
    })?;
    let help = "Bytes read from and written to the disk tier's files, whole pages";
    let bytes = Some(&Unit::Bytes);
    out.family("larder_disk_io", help, bytes, MetricType::Counter, |family| {
        for (op, count) in [("read", &disk.io_read_bytes), ("write", &disk.io_write_bytes)] {
            ConstCounter::new(count.get()).encode(family.encode_family(&[("op", op)])?)?;
        }
        Ok(())
    })?;
    out.gauge("larder_disk_ready", "1 while the disk tier serves", disk.ready.get())?;
    let help = "Bytes that wait to be written to disk";
    out.gauge_of("larder_disk_pending", help, bytes, disk.pending_bytes.get())?;
    let help = "Entries that wait to be handed to the disk's writer";
    out.gauge("larder_disk_write_behind", help, disk.write_behind.get())
}
