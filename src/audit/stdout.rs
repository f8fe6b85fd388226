//! Lines to a stream: standard output, where a log collector takes them.
//!
//! The descriptor is used directly, without the buffer of [`std::io::stdout`], so that a line is either handed to the
//! kernel or known not to be. Whatever else writes to standard output must write whole lines.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;

use super::sink::{Batch, Progress, Sink};

/// A sink that writes to anything that takes bytes.
#[derive(Debug)]
pub struct Stream<W> {
    out: W,
    progress: Progress,
}

impl<W> Stream<W> {
    /// Writes to `out`, which must not buffer.
    pub fn new(out: W) -> Self {
        Self {
            out,
            progress: Progress::default(),
        }
    }
}

impl Stream<File> {
    /// Writes to standard output.
    pub fn stdout() -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::new(descriptor.into()))
    }
}

impl<W: Write + fmt::Debug + Send> Sink for Stream<W> {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.progress.write(&mut self.out, batch)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
