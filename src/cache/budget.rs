//! The one budget of memory at work: the memory tier has what the others leave (DESIGN D12).

use std::sync::Arc;

use crate::cache::disk::Disk;
use crate::cache::flight::windows::Windows;
use crate::cache::memory::Memory;
use crate::config::memory::{CONNECTION, INDEX_ENTRY, MemoryPlan, Used};
use crate::observe::metrics::{BudgetView, Metrics, Part};

/// Of the budget: a smaller change of the memory tier is not worth the work.
const STEP: u64 = 64;

/// What shares the budget.
pub struct Budget {
    plan: MemoryPlan,
    memory: Memory,
    disk: Disk,
    windows: Arc<Windows>,
    metrics: Arc<Metrics>,
}

impl Budget {
    /// Shares out `plan` among these.
    pub fn new(
        plan: MemoryPlan,
        memory: Memory,
        disk: Disk,
        windows: Arc<Windows>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { plan, memory, disk, windows, metrics }
    }

    /// Gives the memory tier what the others leave now; to be called about once a second. Blocks
    /// while entries are evicted.
    pub fn rebalance(&self) {
        let store = self.plan.store(&self.used());
        if store.abs_diff(self.memory.capacity()) >= self.plan.budget / STEP {
            tracing::debug!(bytes = store, "the memory tier is resized");
            self.memory.resize(store);
        }
    }

    fn used(&self) -> Used {
        let connections =
            self.metrics.server.connections.get() + self.metrics.upstream.connections.get();
        Used {
            index: self.disk.objects() * INDEX_ENTRY,
            flights: self.windows.held(),
            connections: u64::try_from(connections).unwrap_or(0) * CONNECTION,
        }
    }
}

impl BudgetView for Budget {
    fn parts(&self) -> Vec<Part> {
        let (plan, used) = (&self.plan, self.used());
        let flushing = u64::try_from(self.metrics.disk.pending_bytes.get()).unwrap_or(0);
        [
            ("store", self.memory.capacity(), self.memory.bytes()),
            ("index", plan.index(), used.index),
            ("flush", plan.flush, flushing),
            ("flights", plan.flights, used.flights),
            ("connections", plan.connections, used.connections),
        ]
        .map(|(name, planned, used)| Part { name, planned, used })
        .into()
    }
}
