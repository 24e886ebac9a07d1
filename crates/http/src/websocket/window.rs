//! `Window`: how far back a compressed message may refer to itself.

/// How far back the messages of a sender refer, at most.
///
/// A receiver keeps as many bytes of each message as it has agreed to; one that is short of memory asks for few
/// (`server_max_window_bits`, RFC 7692 section 7.1.2.1). A server may answer with fewer than it was asked for, so three
/// sizes serve all eight that can be asked for, and a room compresses a message three times at most, whoever its members are.
///
/// ```
/// use tenfold_http::websocket::Window;
/// assert_eq!(Window::within(15), Window::Large);
/// assert_eq!(Window::within(14), Window::Medium);
/// assert_eq!(Window::within(8), Window::Small);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 250 bytes, so that it fits into 8 bits and into 9.
    ///
    /// zlib keeps 512 bytes for it, and refers to the last 250 of them: it wants to see a whole match and what follows it
    /// ahead, and takes these 262 bytes from the window (`MAX_DIST` and `MIN_LOOKAHEAD` in its `deflate.h`).
    Small,
    /// 4 KiB, 12 bits.
    Medium,
    /// 32 KiB, 15 bits: the most that deflate can do (RFC 1951 section 3.2.5).
    Large,
}

impl Window {
    /// All of them, the smallest one first.
    pub const ALL: [Window; 3] = [Window::Small, Window::Medium, Window::Large];

    /// The largest one that a receiver with a window of `2^bits` bytes can read. Of 8 and less it is the smallest.
    pub fn within(bits: u8) -> Window {
        match bits {
            ..12 => Window::Small,
            12..15 => Window::Medium,
            15.. => Window::Large,
        }
    }

    /// What a compressor is told, and what is answered to one who has asked for no less.
    pub(crate) fn bits(self) -> u8 {
        match self {
            Window::Small => 9,
            Window::Medium => 12,
            Window::Large => 15,
        }
    }
}
