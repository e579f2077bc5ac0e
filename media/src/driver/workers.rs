//! The threads that read and write RTMP, bridge and transcode. They are not those of WebSocket and HTTP, which would wait behind
//! sound that is being made: a third of a millisecond for each frame of each stream that is heard.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// One thread for each core, with a scheduler of their own. Dropping it ends them; what they were at is not waited for.
#[derive(Debug)]
pub struct Workers {
    handle: Handle,
    /// Only taken out when dropped.
    runtime: Option<Runtime>,
}

impl Workers {
    /// # Errors
    /// If the system refuses a thread.
    pub fn start() -> io::Result<Workers> {
        let runtime = Builder::new_multi_thread().thread_name("bridge").enable_all().build()?;
        Ok(Workers { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to spawn what they shall do.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Whoever drops this may be a task itself, and must not wait for threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
