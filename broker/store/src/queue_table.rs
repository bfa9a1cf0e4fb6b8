//! All consume queues of the store, by topic and queue id.

use crate::StoreError;
use crate::append::QueueOffsets;
use crate::consume_queue::{ConsumeQueue, MOST_ENTRIES};
use crate::durable::{At, Disk};
use parking_lot::RwLock;
use proto::Offset;
use proto::message::{Record, sys_flag};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// By queue id.
type TopicQueues = BTreeMap<i32, Arc<ConsumeQueue>>;

pub(crate) struct QueueTable {
    dir: PathBuf,
    file_size: u64,
    disk: Disk,
    /// In order, so that what is done to all is done in the same order each time.
    topics: RwLock<BTreeMap<Arc<str>, TopicQueues>>,
}

impl QueueTable {
    /// Opens every queue there is; `file_size` is a multiple of an entry's size.
    pub fn load(dir: PathBuf, file_size: u64, disk: Disk) -> Result<QueueTable, StoreError> {
        std::fs::create_dir_all(&dir).at(&dir, "create consume queue directory")?;
        let table = QueueTable { dir, file_size, disk, topics: RwLock::default() };
        for topic in table.sub_directories(&table.dir)? {
            for id in table.sub_directories(&table.dir.join(&topic))? {
                // Java ignores what is not a number as well.
                if let Ok(id) = id.parse() {
                    table.get_or_create(&topic, id)?;
                }
            }
        }
        Ok(table)
    }

    fn sub_directories(&self, dir: &std::path::Path) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).at(dir, "list")? {
            let entry = entry.at(dir, "list")?;
            if let (true, Ok(name)) = (entry.file_type().at(dir, "list")?.is_dir(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    pub fn get(&self, topic: &str, id: i32) -> Option<Arc<ConsumeQueue>> {
        self.topics.read().get(topic)?.get(&id).cloned()
    }

    pub fn get_or_create(&self, topic: &str, id: i32) -> Result<Arc<ConsumeQueue>, StoreError> {
        if let Some(queue) = self.get(topic, id) {
            return Ok(queue);
        }
        let mut queues = self.topics.write();
        let topic: Arc<str> = queues.get_key_value(topic).map_or_else(|| topic.into(), |(topic, _)| topic.clone());
        let dir = self.dir.join(&*topic).join(id.to_string());
        let queue = Arc::new(ConsumeQueue::open(topic.clone(), id, dir, self.file_size, self.disk.clone())?);
        queues.entry(topic).or_default().insert(id, queue.clone());
        Ok(queue)
    }

    pub fn all(&self) -> Vec<Arc<ConsumeQueue>> {
        self.topics.read().values().flat_map(|queues| queues.values().cloned()).collect()
    }

    /// What the queue offsets of each queue's next records should be from `at` on, going by its entries.
    pub fn next_offsets(&self, at: Offset) -> QueueOffsets {
        let mut next = QueueOffsets::default();
        for queue in self.all() {
            next.set(&queue.topic, queue.id, queue.next_at(at));
        }
        next
    }

    pub fn remove_topic(&self, topic: &str) -> Result<(), StoreError> {
        let Some(queues) = self.topics.write().remove(topic) else { return Ok(()) };
        for queue in queues.values() {
            queue.clear()?;
            self.disk.remove_dir_all(queue.dir()).at(queue.dir(), "remove consume queue")?;
        }
        let dir = self.dir.join(topic);
        self.disk.remove_dir_all(&dir).at(&dir, "remove the topic's consume queues")?;
        self.disk.sync_dir(&self.dir).at(&self.dir, "sync")
    }
}

/// Whether a record has a place in a consume queue. Transactions' prepared and rolled back ones have none; nor has one
/// whose header is damaged, which no checksum tells: of a topic that no broker accepts, or where no queue gets to.
pub(crate) fn has_place(record: &Record<'_>) -> bool {
    sys_flag::is_indexed(record.sys_flag)
        && is_directory_name(record.topic)
        && record.queue_id >= 0
        && (0..MOST_ENTRIES).contains(&record.queue_offset)
}

/// False for a topic that cannot be a directory's name.
fn is_directory_name(topic: &str) -> bool {
    !matches!(topic, "" | "." | "..") && !topic.contains(['/', '\0']) && topic.len() <= 255
}
