//! `Priority`: who goes first when a lane has not enough for everybody.

/// How important the requests of a route are, beside the others of their lane; see [`Handler::priority`].
///
/// Health routes are above all classes: they pass by the lanes.
///
/// | | a place | the line | in an overload |
/// |---|---|---|---|
/// | critical | any | before all others, and a quarter longer | as ever |
/// | normal | any | before background, up to [`Lane::queue`] | within [`Lane::target`] |
/// | background | three quarters of them | a quarter of [`Lane::queue`] | refused |
///
/// [`Handler::priority`]: crate::Handler::priority
/// [`Lane::queue`]: crate::Lane::queue
/// [`Lane::target`]: crate::Lane::target
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Priority {
    /// What has to work last of all: a payment, a log-in.
    Critical,
    /// Everything that does not say otherwise.
    #[default]
    Normal,
    /// What nobody waits for, or may come again: prefetches, exports, crawlers.
    Background,
}

impl Priority {
    /// How many of `places` it may have; at least one.
    pub(crate) fn places(self, places: usize) -> usize {
        match self {
            Priority::Critical | Priority::Normal => places,
            Priority::Background => (places - places / 4).max(1),
        }
    }

    /// How many may wait before it, where the line is bounded by `queue`.
    pub(crate) fn line(self, queue: usize) -> usize {
        match self {
            Priority::Critical => queue.saturating_add(queue.div_ceil(4)),
            Priority::Normal => queue,
            Priority::Background => queue / 4,
        }
    }

    /// How much of a worker's memory it may find taken, of `bytes_max`.
    pub(crate) fn memory(self, bytes_max: u64) -> u64 {
        match self {
            Priority::Critical | Priority::Normal => bytes_max,
            Priority::Background => bytes_max / 4 * 3,
        }
    }
}
