use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::discover::fixtures::{found, server, world};

fn names(world: &World, service: &str) -> Vec<String> {
    let instances = world.service(service).expect("known");
    instances.servers.iter().map(|server| server.instance.clone()).collect()
}

#[test]
fn a_service_is_not_the_one_whose_name_begins_alike() {
    let n = server("n", "10.0.0.1", 80);
    let world = world(&[("services/a/1", &n), ("services/a-b/2", &n), ("services/a.b/3", &n)], &[]);
    assert_eq!(names(&world, "a"), ["1"]);
    assert_eq!(names(&world, "a-b"), ["2"]);
    for nobody in ["b", "", "a/1", "a-b/2"] {
        assert_eq!(names(&world, nobody), [""; 0], "{nobody}");
    }
}

#[test]
fn a_service_is_hidden_by_what_may_not_be_read_above_or_below_it() {
    let hidden = |unreadable: &str| world(&[], &[unreadable]).service("a").is_err();
    assert!(hidden("services/a") && hidden("services/a/1") && hidden("services/"));
    assert!(!hidden("services/ab") && !hidden("settings/a"));
}

#[test]
fn a_changed_registration_is_parsed_anew_and_a_new_life_of_it_too() {
    let mut world = World::default();
    let mut set = |address: &str, czxid, version| {
        let found = Found { czxid, version, ..found(&server("n", address, 80)) };
        world.set(Root::Services, &BTreeMap::from([("s/n".to_owned(), found)]), &BTreeSet::new());
        world.service("s").expect("known").servers[0].address.clone()
    };
    assert_eq!(set("a", 1, 0), "a");
    assert_eq!(set("b", 1, 1), "b");
    assert_eq!(set("c", 9, 1), "c");
}

#[test]
fn another_ensembles_numbers_mean_nothing() {
    let mut world = World::default();
    for address in ["a", "b"] {
        let nodes = BTreeMap::from([("s/n".to_owned(), found(&server("n", address, 80)))]);
        world.fresh(Root::Services, &nodes, &BTreeSet::new());
        assert_eq!(world.service("s").expect("known").servers[0].address, address);
    }
}
