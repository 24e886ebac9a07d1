//! The title of a process: what `ps` and `top` show in place of its command line.
//!
//! A process may write over the memory in which the kernel has put its arguments, and `/proc/PID/cmdline` shows what is
//! there (proc(5)); nginx and PostgreSQL do the same. The room is that of the command line, so a title may be cut. It is
//! written through `/proc/self/mem`, whose arguments' place `/proc/self/stat` names; prctl(2)'s `PR_SET_MM` could give it
//! more room and takes a privilege that a worker has given up.
//!
//! A worker has no use for its arguments any more. What calls `std::env::args` in one gets pieces of the title: they are
//! ASCII, so nothing panics over them.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    sync::OnceLock,
};

struct Place {
    memory: File,
    start: u64,
    room: usize,
}

static PLACE: OnceLock<Option<Place>> = OnceLock::new();

/// Shows `text` as this process's command line, as far as there is room; what is not ASCII becomes a question mark.
///
/// Nothing happens where the system does not allow it. Cost: one system call, and three more the first time.
///
/// ```
/// tenfold_supervisor::set_title("worker 0: GET /");
/// ```
pub fn set_title(text: &str) {
    let Some(place) = PLACE.get_or_init(find) else { return };
    let mut bytes: Vec<u8> = text
        .chars()
        .map(|char| if char.is_ascii() && !char.is_ascii_control() { char as u8 } else { b'?' })
        .take(place.room)
        .collect();
    // Zeroes to the end, the last of which tells the kernel that the title does not go on in the environment.
    bytes.resize(place.room + 1, 0);
    let _ = place.memory.write_at(&bytes, place.start);
}

/// Called in the process itself: a parent's place may be another one after an exec, and its file is that of its memory.
fn find() -> Option<Place> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything. `arg_start` and `arg_end` are fields 48 and 49.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let (start, end) = (fields.get(45)?.parse::<u64>().ok()?, fields.get(46)?.parse::<u64>().ok()?);
    let room = usize::try_from(end.checked_sub(start)?).ok()?.checked_sub(1).filter(|_| start > 0)?;
    let memory = File::options().write(true).open("/proc/self/mem").ok()?;
    Some(Place { memory, start, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_takes_the_place_of_the_command_line_and_is_cut_to_it() {
        let shown = || fs::read("/proc/self/cmdline").unwrap();
        let room = shown().len() - 1;
        set_title("short ä");
        assert!(shown().starts_with(b"short ?\0"), "{:?}", String::from_utf8_lossy(&shown()));
        set_title(&"x".repeat(room + 100));
        let long = shown();
        assert_eq!((long.len(), &long[..room]), (room + 1, &vec![b'x'; room][..]));
    }
}
