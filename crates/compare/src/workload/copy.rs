//! `copy`: copies a file in steps of 4 KiB. File I/O on the loop against file I/O off the loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenfold_runtime::fs::{self, File};
use tenfold_server::{App, Facts, Result, State};

use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

pub(super) struct Copy;

/// Of the file.
const FILE_BYTES: usize = 128 << 10;

/// Of a step: 32 reads and 32 writes for each request.
const STEP_BYTES: usize = 4 << 10;

/// Where the file is.
#[derive(Clone)]
struct Place(Arc<PathBuf>);

impl Place {
    fn source(&self) -> PathBuf {
        self.0.join("copy-source")
    }

    /// A fresh file that has no name any more: the kernel removes it with its descriptor.
    fn target(&self) -> Result<File> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.0.join(format!("copy-{}-{number}", std::process::id()));
        let file =
            File::open_with(std::fs::OpenOptions::new().write(true).read(true).create_new(true), &path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

fn copy(State(place): State<Place>) -> Result<String> {
    let source = File::open(place.source())?;
    let target = place.target()?;
    let mut step = [0; STEP_BYTES];
    let mut at = 0;
    loop {
        let count = source.read_at(&mut step, at)?;
        if count == 0 {
            return Ok(format!("{at} bytes\n"));
        }
        let mut written = 0;
        while written < count {
            written += target.write_at(&step[written..count], at + written as u64)?;
        }
        at += count as u64;
    }
}

/// Makes what is copied.
pub(crate) fn prepare(directory: &Path) -> std::io::Result<()> {
    std::fs::write(directory.join("copy-source"), vec![b'x'; FILE_BYTES])
}

impl Workload for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn teaches(&self) -> &'static str {
        "copies 128 KiB in steps of 4 KiB: file I/O on the loop against off the loop"
    }

    fn dial(&self, quick: bool) -> Dial {
        Dial::closed(quick, 16)
    }

    fn app(&self, setup: &Setup) -> std::result::Result<App, String> {
        Ok(App::new().state(Place(Arc::new(setup.directory.clone()))).get("/copy", copy))
    }

    fn fit(&self, dial: &mut Dial, facts: &Facts, workers: usize) -> Option<String> {
        dial.say_who_waits(facts, workers)
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::Closed { connections: dial.connections, pipeline: 1, close: false };
        let mut target = TargetSpec::get(format!("{url}/copy"), shape);
        target.expect.body = Some(format!("{FILE_BYTES} bytes\n"));
        dial.spec(vec![target])
    }
}
