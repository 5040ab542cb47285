//! A partition under remote control: the test passes a closure, which runs in the partition inside
//! a direct request. A test that moves between worlds can then be read from top to bottom.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::guest::Sp;
use crate::manifest::PartitionSpec;
use crate::system::Nwd;

type Task = Box<dyn FnOnce(&mut Sp) + Send>;

/// The remote control of a partition.
#[derive(Clone, Default)]
pub struct Remote {
    tasks: Arc<Mutex<VecDeque<Task>>>,
}

impl Remote {
    /// Gives `partition` a script that registers buffers and then runs the tasks of the remote
    /// control.
    pub fn control(partition: PartitionSpec) -> (PartitionSpec, Self) {
        let remote = Self::default();
        let tasks = Arc::clone(&remote.tasks);
        let partition = partition.script(move |sp| {
            if sp.vcpu == 0 {
                sp.map_buffers();
            }
            sp.serve(|sp, request| {
                let task = tasks.lock().unwrap().pop_front();
                if let Some(task) = task {
                    task(sp);
                }
                request.payload()
            })
        });
        (partition, remote)
    }

    /// Runs `task` in the partition `id`, which `nwd` calls.
    #[track_caller]
    pub fn run<T: Send + 'static>(
        &self,
        nwd: Nwd<'_>,
        id: u16,
        task: impl FnOnce(&mut Sp) -> T + Send + 'static,
    ) -> T {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        self.leave(move |sp| {
            let value = task(sp);
            *slot.lock().unwrap() = Some(value);
        });
        nwd.ask(id, [0; 5]);
        let value = result.lock().unwrap().take();
        value.expect("the task has run")
    }

    /// Keeps `task` for the next request to the partition.
    pub fn leave(&self, task: impl FnOnce(&mut Sp) + Send + 'static) {
        self.tasks.lock().unwrap().push_back(Box::new(task));
    }
}
