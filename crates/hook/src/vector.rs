//! What is left of a list of buffers after a part of it has been moved.

use libc::iovec;

/// Buffers that are handed to the kernel at a time when a call goes on after a part: on the stack, since nothing here
/// allocates.
const WINDOW: usize = 32;

/// The rest of a list of buffers.
pub(crate) struct Rest {
    window: [iovec; WINDOW],
    len: usize,
}

impl Rest {
    /// The buffers of `all` without their first `skip` bytes: as many as fit.
    ///
    /// # Safety
    /// `all` points to `count` buffers.
    pub(crate) unsafe fn after(all: *const iovec, count: usize, skip: usize) -> Rest {
        let empty = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut rest = Rest { window: [empty; WINDOW], len: 0 };
        let mut skip = skip;
        for index in 0..count {
            // SAFETY: the caller's promise.
            let buffer = unsafe { *all.add(index) };
            if skip >= buffer.iov_len {
                skip -= buffer.iov_len;
                continue;
            }
            if rest.len == WINDOW {
                break;
            }
            let base = buffer.iov_base.wrapping_byte_add(skip);
            rest.window[rest.len] = iovec { iov_base: base, iov_len: buffer.iov_len - skip };
            rest.len += 1;
            skip = 0;
        }
        rest
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut iovec {
        self.window.as_mut_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// The bytes that a list of buffers holds.
///
/// # Safety
/// `all` points to `count` buffers.
pub(crate) unsafe fn bytes(all: *const iovec, count: usize) -> usize {
    // SAFETY: the caller's promise.
    (0..count).map(|index| unsafe { (*all.add(index)).iov_len }).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_whole_buffers_and_the_head_of_one() {
        let mut text = *b"abcdefgh";
        let base = text.as_mut_ptr();
        let all = [(0, 3), (3, 0), (3, 2), (5, 3)]
            .map(|(at, len)| iovec { iov_base: base.wrapping_add(at).cast(), iov_len: len });
        // SAFETY: four buffers.
        let (total, mut rest) = unsafe { (bytes(all.as_ptr(), 4), Rest::after(all.as_ptr(), 4, 4)) };
        assert_eq!(total, 8);
        // SAFETY: `rest` has that many.
        let left = unsafe { std::slice::from_raw_parts(rest.as_mut_ptr(), rest.len()) };
        let left: Vec<_> = left.iter().map(|one| (one.iov_base.addr() - base.addr(), one.iov_len)).collect();
        assert_eq!(left, [(4, 1), (5, 3)]);
    }

    #[test]
    fn hands_over_no_more_than_a_window() {
        let mut byte = 0_u8;
        let all = vec![iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 }; 3 * WINDOW];
        // SAFETY: that many buffers.
        assert_eq!(unsafe { Rest::after(all.as_ptr(), all.len(), 5) }.len(), WINDOW);
    }
}
