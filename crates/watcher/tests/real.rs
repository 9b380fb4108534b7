//! The watcher on a real ZooKeeper and a real queue.

mod real {
    mod bench;
    mod faults;
    mod proxy;
    mod strangers;
    mod stream;
}
