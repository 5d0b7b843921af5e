//! What is read of a workload's images, and what follows from where their registries are. Pure.

use crate::discovery::covering;
use crate::discovery::image::Image;
use crate::discovery::objects::{Container, PodSpec};
use crate::discovery::{Gap, Inventory, WorkloadRef, in_sight};
use crate::model::{GapReason, Reason};
use crate::net::region::{RegionAnswer, Regions};
use crate::probe::Answer;

/// What the cluster shows of a workload's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Each container of the template with its image reference, and what that says.
    containers: Vec<(String, String, Option<Image>)>,
    /// What waits for its image: container, pod and the word of the kubelet.
    waiting: Result<Vec<(String, String, String)>, Gap>,
}

/// A registry with the region that it is in, or why nobody can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub registry: String,
    pub region: Result<RegionAnswer, String>,
}

/// The kubelet's words for an image that it does not get (pkg/kubelet/images/types.go).
const WITHOUT_IMAGE: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// Reads what the cluster shows.
pub(super) fn look(inventory: &Inventory, workload: &WorkloadRef) -> Result<Seen, Gap> {
    let [controller, pods] = covering::of_workload(inventory, workload);
    in_sight(inventory, [&controller])?;
    let Some(found) = inventory.controllers.get(workload) else {
        return Err(Gap::new(GapReason::NotFound, format!("there is no {workload}")));
    };
    let PodSpec { containers, init_containers, .. } = &found.template.spec;
    let read = |container: &Container| {
        (container.name.to_string(), container.image.to_string(), Image::parse(&container.image))
    };
    let waiting = in_sight(inventory, [&pods]).map(|()| {
        let alive = inventory.pods_of(workload).filter(|(_, pod)| !pod.deleting);
        let waiting = alive.flat_map(|(name, pod)| {
            pod.containers.iter().filter_map(|container| {
                let word = container.state.waiting.as_ref()?.reason.as_deref()?;
                let word = WITHOUT_IMAGE.iter().find(|known| **known == word)?;
                Some((container.name.to_string(), name.to_owned(), (*word).to_owned()))
            })
        });
        waiting.collect()
    });
    Ok(Seen { containers: containers.iter().chain(init_containers).map(read).collect(), waiting })
}

/// The region that a registry's name speaks of: by the configured ends of host names, else by a label that is the name of
/// a region or begins with it and a hyphen (`us-east1-docker.pkg.dev`); the longest name wins.
pub(super) fn by_name(regions: &Regions, names: &[String], registry: &str) -> Option<RegionAnswer> {
    match regions.of_host(registry) {
        RegionAnswer::Unknown => {}
        known => return Some(known),
    }
    if registry.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let labels: Vec<String> = registry.split('.').map(str::to_ascii_lowercase).collect();
    let speaks = |name: &str| {
        let name = name.to_ascii_lowercase();
        labels.iter().any(|label| {
            label.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let spoken: Vec<&String> = names.iter().filter(|name| speaks(name)).collect();
    // `us-east-1` speaks of `us-east`, too, if there is such a region; the more exact one is meant.
    let longest: Vec<&String> = spoken
        .iter()
        .filter(|name| {
            !spoken.iter().any(|other| other.len() > name.len() && other.starts_with(name.as_str()))
        })
        .copied()
        .collect();
    match longest.as_slice() {
        [] => None,
        [name] => Some(RegionAnswer::Known((*name).clone())),
        several => Some(RegionAnswer::Ambiguous(several.iter().map(|name| (*name).clone()).collect())),
    }
}

/// Whether a registry is the machine's own.
pub(super) fn is_local(registry: &str) -> bool {
    registry == "localhost" || registry.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The answer. A registry in another region outranks a pod that waits: it is the cause that leads to a page.
pub(super) fn judge(seen: &Seen, placed: &[Placed], site: &str, regions_are_configured: bool) -> Answer {
    let containers_of = |registry: &str| -> String {
        let from = |(name, _, image): &(String, String, Option<Image>)| {
            image.as_ref().is_some_and(|image| image.registry == registry).then(|| name.clone())
        };
        seen.containers.iter().filter_map(from).collect::<Vec<_>>().join(", ")
    };
    let waiting = seen.waiting.as_deref().unwrap_or_default();
    let waits = waiting.first().map(|(container, pod, word)| {
        let image = seen.containers.iter().find(|(name, _, _)| name == container);
        let image = image.map(|(_, image, _)| format!("; the template names {image}")).unwrap_or_default();
        let others = match waiting.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        format!("container {container} of pod {pod} does not get its image: {word}{image}{others}")
    });
    let abroad = placed.iter().find_map(|Placed { registry, region }| match region {
        Ok(RegionAnswer::Known(region)) if region != site => Some((registry, region)),
        Ok(RegionAnswer::Known(_) | RegionAnswer::Ambiguous(_) | RegionAnswer::Unknown) | Err(_) => None,
    });
    if let Some((registry, region)) = abroad {
        let waits = waits.map(|words| format!("; {words}")).unwrap_or_default();
        let words = format!(
            "the image of {} comes from {registry} in {region}, this site is in {site}{waits}",
            containers_of(registry)
        );
        return Answer::fail(Reason::WrongRegion, words);
    }
    if let Some(words) = waits {
        return Answer::fail(Reason::Missing, words);
    }
    if let Some((name, _, _)) = seen.containers.iter().find(|(_, _, image)| image.is_none()) {
        let words = format!("the image of container {name} is no reference that names an image");
        return Answer::gap(GapReason::Unparsable, words);
    }
    let blind = placed.iter().find_map(|Placed { registry, region }| match region {
        // Nodes pull through mirrors and by other name servers than ours, and the pods that run prove that they can.
        Err(why) => Some(Answer::skipped(format!(
            "the region of the registry {registry} cannot be told from here: {why}"
        ))),
        Ok(RegionAnswer::Ambiguous(names)) => Some(Answer::gap(
            GapReason::Ambiguous,
            format!(
                "the registry {registry} is in {}: nobody can tell which one serves",
                names.join(" and ")
            ),
        )),
        Ok(RegionAnswer::Known(_) | RegionAnswer::Unknown) => None,
    });
    if let Some(blind) = blind {
        return blind;
    }
    if let Err(gap) = &seen.waiting {
        return gap.clone().answer();
    }
    if !regions_are_configured {
        return Answer::skipped("no regions are configured, so that none can be told");
    }
    let elsewhere: Vec<&str> = placed
        .iter()
        .filter(|placed| placed.region == Ok(RegionAnswer::Unknown))
        .map(|placed| &*placed.registry)
        .collect();
    if elsewhere.is_empty() {
        Answer::pass(format!("every image comes from a registry in {site}"))
    } else {
        let word = if elsewhere.len() == 1 { "is" } else { "are" };
        Answer::pass(format!("{} {word} in none of the configured regions", elsewhere.join(", ")))
    }
}

impl Seen {
    /// The images that could be read.
    pub(super) fn images(&self) -> impl Iterator<Item = &Image> {
        self.containers.iter().filter_map(|(_, _, image)| image.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::discovery::inventory::{Controller, Pod};
    use crate::discovery::{ControllerKind, Feed, FeedState, ObjectRef, Only, Sight};
    use crate::model::{Outcome, Resource};
    use crate::net::region::RegionMembers;

    fn workload() -> WorkloadRef {
        WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new("prod", "api") }
    }

    /// A Deployment with these images and one pod with a container that waits so.
    fn cluster(images: &[&str], waiting: Option<&str>) -> Inventory {
        let state = FeedState { sight: Sight::Live, since: Timestamp::UNIX_EPOCH, heard: None, skipped: 0 };
        let mut inventory = Inventory::default();
        inventory.feeds.insert(Feed::named(Resource::Deployments, &workload().object), state.clone());
        let only = Only::Labelled { workload: workload(), selector: Arc::from("app=api") };
        let pods = Feed { resource: Resource::Pods, namespace: Some(Arc::from("prod")), only };
        inventory.feeds.insert(pods, state);
        let containers: Vec<_> = images
            .iter()
            .enumerate()
            .map(|(number, image)| json!({"name": format!("c{number}"), "image": image}))
            .collect();
        let template = serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap();
        inventory.controllers.insert(workload(), Controller { template, ..Controller::default() });
        let status = json!([{"name": "c0", "state": {"waiting": {"reason": waiting}}}]);
        let containers = if waiting.is_some() { serde_json::from_value(status).unwrap() } else { Vec::new() };
        let pod = Pod { containers, ..Pod::default() };
        inventory.pods.insert(workload(), [("api-1".into(), pod)].into());
        inventory
    }

    fn regions() -> (Regions, Vec<String>) {
        let members = |cidr: &str, suffix: &str| RegionMembers {
            cidrs: vec![cidr.parse().unwrap()],
            host_suffixes: vec![suffix.to_owned()],
        };
        let all = [
            ("us-east-1".to_owned(), members("10.0.0.0/16", "east.example.com")),
            ("us-west-2".to_owned(), members("10.1.0.0/16", "west.example.com")),
        ];
        (Regions::new(all), vec!["us-east-1".to_owned(), "us-west-2".to_owned()])
    }

    fn asked(inventory: &Inventory) -> Answer {
        let (regions, names) = regions();
        let seen = match look(inventory, &workload()) {
            Ok(seen) => seen,
            Err(gap) => return gap.answer(),
        };
        let placed: Vec<_> = seen
            .images()
            .map(|image| {
                let by_address = || {
                    Ok(regions.of_addresses(None, &image.registry.parse().into_iter().collect::<Vec<_>>()).0)
                };
                let by_name = by_name(&regions, &names, &image.registry);
                Placed { registry: image.registry.clone(), region: by_name.map_or_else(by_address, Ok) }
            })
            .collect();
        judge(&seen, &placed, "us-west-2", true)
    }

    #[test]
    fn l73_a_registry_of_the_primary_region_is_told_by_name_label_and_address() {
        for image in [
            "registry.east.example.com/api:1",
            "1234.dkr.ecr.us-east-1.amazonaws.com/api:1",
            "us-east-1-docker.pkg.dev/p/r/api@sha256:00",
            "10.0.3.4:5000/api",
        ] {
            let answer = asked(&cluster(&["registry.west.example.com/side:1", image], None));
            assert_eq!(answer.outcome, Outcome::Fail(Reason::WrongRegion), "{image}: {}", answer.detail);
            assert!(answer.detail.starts_with("the image of c1 comes from "), "{}", answer.detail);
        }
    }

    #[test]
    fn l73_a_pod_that_waits_for_its_image_is_told() {
        for word in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"] {
            let answer = asked(&cluster(&["registry.west.example.com/api:1"], Some(word)));
            assert_eq!(answer.outcome, Outcome::Fail(Reason::Missing));
            let words = format!(
                "container c0 of pod api-1 does not get its image: {word}; the template names registry.west.example.com/api:1"
            );
            assert_eq!(answer.detail, words);
        }
        let both = asked(&cluster(&["registry.east.example.com/api:1"], Some("ErrImagePull")));
        assert_eq!(both.outcome, Outcome::Fail(Reason::WrongRegion));
        assert!(both.detail.contains("ErrImagePull"), "{}", both.detail);
    }

    #[test]
    fn l73_twin_a_registry_here_or_nowhere_passes() {
        for (image, waiting, words) in [
            ("10.1.3.4:5000/api", None, "every image comes from a registry in us-west-2"),
            ("1.dkr.ecr.us-west-2.amazonaws.com/a", Some("ContainerCreating"), "every image comes"),
            ("quay.io/a/b", Some("PodInitializing"), "quay.io is in none of the configured regions"),
            ("us-east-10.example.org/a", None, "us-east-10.example.org is in none"),
        ] {
            let answer = asked(&cluster(&[image], waiting));
            assert_eq!(answer.outcome, Outcome::Pass, "{image}: {}", answer.detail);
            assert!(answer.detail.starts_with(words), "{}", answer.detail);
        }
    }

    #[test]
    fn l73_gap_without_a_right_nobody_is_accused_and_nobody_cleared() {
        let mut inventory = cluster(&["quay.io/a/b"], None);
        for state in inventory.feeds.values_mut() {
            state.sight = Sight::Forbidden;
        }
        assert_eq!(asked(&inventory).gap, Some(GapReason::Forbidden));
        let mut pods_hidden = cluster(&["quay.io/a/b"], None);
        for (feed, state) in &mut pods_hidden.feeds {
            state.sight = if feed.resource == Resource::Pods { Sight::Forbidden } else { Sight::Live };
        }
        assert_eq!(asked(&pods_hidden).gap, Some(GapReason::Forbidden));
        let mut gone = cluster(&["quay.io/a/b"], None);
        gone.controllers.clear();
        assert_eq!(asked(&gone).gap, Some(GapReason::NotFound));
        assert_eq!(asked(&cluster(&["quay.io/a b"], None)).gap, Some(GapReason::Unparsable));
    }

    #[test]
    fn what_cannot_be_placed_is_not_cleared() {
        let seen = look(&cluster(&["r.example.org/a"], None), &workload()).unwrap();
        let placed = |region| [Placed { registry: "r.example.org".to_owned(), region }];
        let silent = judge(&seen, &placed(Err("r.example.org does not exist".to_owned())), "us-west-2", true);
        assert_eq!(silent.outcome, Outcome::Skipped);
        let two = RegionAnswer::Ambiguous(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(judge(&seen, &placed(Ok(two)), "us-west-2", true).gap, Some(GapReason::Ambiguous));
        assert_eq!(judge(&seen, &[], "us-west-2", false).outcome, Outcome::Skipped);
    }

    #[test]
    fn the_longest_name_of_a_region_wins_and_two_are_ambiguous() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let said = |all: &[&str], host| by_name(&Regions::default(), &names(all), host);
        let known = |name: &str| Some(RegionAnswer::Known(name.to_owned()));
        assert_eq!(said(&["us", "us-east1"], "us-east1-docker.pkg.dev"), known("us-east1"));
        assert_eq!(said(&["us", "us-east1"], "us-docker.pkg.dev"), known("us"));
        assert_eq!(said(&["us-east1"], "US-EAST1.example.com"), known("us-east1"));
        assert_eq!(said(&["us-east1"], "us-east12.example.com"), None);
        assert_eq!(said(&["10"], "10.1.2.3"), None);
        let both = RegionAnswer::Ambiguous(names(&["east", "west"]));
        assert_eq!(said(&["east", "west"], "east.west.example.com"), Some(both));
        assert!(is_local("localhost") && is_local("127.0.0.1") && is_local("::1") && !is_local("10.1.0.1"));
    }
}
