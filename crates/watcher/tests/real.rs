//! The watcher on a real ZooKeeper and a real queue.

mod real {
    mod bench;
    mod chaos;
    mod faults;
    mod kills;
    mod proxy;
    mod strangers;
    mod stream;
    mod supervised;
}
