//! `Stage` and `Cause`: the words for where a request is and what it waits for.
//!
//! The numbers behind the names are in shared memory, which another version of the program may read: new members go to
//! the end, and the board's header changes its version when a number changes its meaning.

/// A part of a request's way through the server, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Stage {
    /// From the connection's acceptance to the first look at it; in the first request of a connection only.
    Accept = 0,
    /// Taking the client's bytes, without the wait for them.
    Read = 1,
    /// Bytes to a request head, and the head to a route.
    Parse = 2,
    /// Ready and not running: in a lane's line, behind other fibers of the loop, or on its way to another thread or process.
    Queue = 3,
    /// The handler, on a processor (or held back by the kernel's scheduler, which is not told apart).
    Run = 4,
    /// Waiting for something else; [`Cause`] says for what.
    Wait = 5,
    /// A response to bytes.
    Render = 6,
    /// Bytes to the socket, without the wait for room.
    Write = 7,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// All of them, in the order of a request's way.
    pub const ALL: [Stage; Self::COUNT] = [
        Stage::Accept,
        Stage::Read,
        Stage::Parse,
        Stage::Queue,
        Stage::Run,
        Stage::Wait,
        Stage::Render,
        Stage::Write,
    ];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Accept => "accept",
            Stage::Read => "read",
            Stage::Parse => "parse",
            Stage::Queue => "queue",
            Stage::Run => "run",
            Stage::Wait => "wait",
            Stage::Render => "render",
            Stage::Write => "write",
        }
    }

    /// Whether a processor is busy with the request meanwhile.
    pub fn is_busy(self) -> bool {
        !matches!(self, Stage::Queue | Stage::Wait)
    }

    pub(crate) fn from_number(number: u8) -> Stage {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Stage::Run)
    }
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Cause {
    /// Something that none of the other words fits.
    Other = 0,
    /// A database or another store; its driver has said so.
    Database = 1,
    /// Another HTTP server.
    Http = 2,
    /// Time.
    Sleep = 3,
    /// A file.
    Disk = 4,
    /// A lock that somebody else holds.
    Lock = 5,
    /// A free place in a pool, or a permit.
    PoolSlot = 6,
    /// A message on a channel, or room for one.
    Channel = 7,
    /// A closure on the thread pool.
    Offload = 8,
    /// The end of another fiber or thread, which does not say what it waits for itself.
    Task = 9,
    /// A socket that is not known to be anything more special.
    Network = 10,
    /// The client: bytes of its request, or room for the answer.
    Client = 11,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 12;
    /// All of them.
    pub const ALL: [Cause; Self::COUNT] = [
        Cause::Other,
        Cause::Database,
        Cause::Http,
        Cause::Sleep,
        Cause::Disk,
        Cause::Lock,
        Cause::PoolSlot,
        Cause::Channel,
        Cause::Offload,
        Cause::Task,
        Cause::Network,
        Cause::Client,
    ];

    /// Its name in tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Other => "other",
            Cause::Database => "database",
            Cause::Http => "http",
            Cause::Sleep => "sleep",
            Cause::Disk => "disk",
            Cause::Lock => "lock",
            Cause::PoolSlot => "pool slot",
            Cause::Channel => "channel",
            Cause::Offload => "offload",
            Cause::Task => "task",
            Cause::Network => "network",
            Cause::Client => "client",
        }
    }

    pub(crate) fn from_number(number: u8) -> Cause {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Cause::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_the_number_of_its_place() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!((stage as usize, Stage::from_number(place as u8)), (place, stage));
        }
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!((cause as usize, Cause::from_number(place as u8)), (place, cause));
        }
        assert_eq!((Stage::from_number(99), Cause::from_number(99)), (Stage::Run, Cause::Other));
    }
}
