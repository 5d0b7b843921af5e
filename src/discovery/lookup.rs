//! One text of a workload by name: what a variable holds, or a file. Pure; what is in a Secret stays a recipe.

use super::files::Place;
use super::recipe::{Recipe, Value};
use super::variables::Environment;
use super::workload::{containers, controller, there_is};
use super::{Gap, Inventory, WorkloadRef};
use crate::model::GapReason;

/// What is looked for in the containers of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A variable. One whose name ends in `_FILE` holds the path of a file, whose content is meant; to one whose name ends
    /// in `HOST` belongs the one that ends in `PORT` alike.
    Variable(String),
    /// A file, by its path in the container.
    File(String),
}

/// The text of that name in whichever container has it.
///
/// # Errors
///
/// No container has it, several have different ones, or it cannot be seen.
pub fn lookup(inventory: &Inventory, workload: &WorkloadRef, named: &Named) -> Result<Value, Gap> {
    let controller = controller(inventory, workload)?;
    let spec = &controller.template.spec;
    let mut found: Vec<(&str, Value)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for container in containers(spec) {
        let environment = Environment::of(inventory, workload, controller, container);
        let place = Place { inventory, namespace: workload.namespace(), pod: spec, container };
        let held = match named {
            Named::File(path) => place.file(path)?,
            Named::Variable(name) => variable(&environment, &place, name)?,
        };
        match held {
            Some(value) => found.push((&container.name, value)),
            None => names.extend(environment.names()),
        }
    }
    let mut rest = found.into_iter();
    let Some((first, value)) = rest.next() else {
        return Err(Gap::new(
            GapReason::NotFound,
            match named {
                Named::Variable(name) => {
                    let others = there_is(name, names, &workload.object);
                    format!("no container of {workload} has the variable {name}; {others}")
                }
                Named::File(path) => format!(
                    "no ConfigMap or Secret makes the file {path} in a container of {workload}, so it is in the image or made at run time"
                ),
            },
        ));
    };
    if let Some((other, _)) = rest.find(|(_, other)| other.recipe != value.recipe) {
        let what = match named {
            Named::Variable(name) => format!("the variable {name}"),
            Named::File(path) => format!("the file {path}"),
        };
        let words = format!("{what} of {workload} differs between the containers {first} and {other}");
        return Err(Gap::new(GapReason::Ambiguous, words));
    }
    Ok(value)
}

fn variable(environment: &Environment<'_>, place: &Place<'_>, name: &str) -> Result<Option<Value>, Gap> {
    let Some(value) = environment.get(name)? else { return Ok(None) };
    if name.to_ascii_uppercase().ends_with("_FILE")
        && let Some(path) = value.recipe.known()
    {
        return place.file(path.trim());
    }
    if let Some(prefix) = name.strip_suffix("HOST")
        && value.recipe.known().is_none_or(|host| !host.contains([':', '/', ',']))
        && let Some(port) = environment.get(&format!("{prefix}PORT"))?
        && port.recipe.known().is_some_and(|port| port.parse::<u16>().is_ok())
    {
        let mut both = Recipe::default();
        both.push(value.recipe, "");
        both.push_text(":");
        both.push(port.recipe, "");
        return Ok(Some(Value { recipe: both, origin: value.origin }));
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::testing::{World, deployment};

    fn found(world: &World, named: &Named) -> Result<String, Gap> {
        let value = lookup(&world.inventory, &deployment("api"), named)?;
        Ok(value.recipe.known().map_or_else(|| value.origin.clone(), str::to_owned))
    }

    fn variable(name: &str) -> Named {
        Named::Variable(name.to_owned())
    }

    #[test]
    fn a_variable_a_file_and_a_pair_of_variables_are_found() {
        let world = World::new()
            .config_map("cache", &[("url", "redis://cache:6379")])
            .deployment(
                "api",
                "{spec: {volumes: [{name: v, configMap: {name: cache}}], containers: [{name: api, volumeMounts: [{name: v, mountPath: /etc/cache}], env: [\
                 {name: CACHE_URL_FILE, value: /etc/cache/url}, {name: QUEUE_HOST, value: mq}, {name: QUEUE_PORT, value: '5672'}, \
                 {name: SEARCH_HOST, value: 'search:9200'}, {name: KEY, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}}",
            );
        assert_eq!(found(&world, &variable("CACHE_URL_FILE")).unwrap(), "redis://cache:6379");
        assert_eq!(found(&world, &Named::File("/etc/cache/url".to_owned())).unwrap(), "redis://cache:6379");
        assert_eq!(found(&world, &variable("QUEUE_HOST")).unwrap(), "mq:5672");
        assert_eq!(found(&world, &variable("SEARCH_HOST")).unwrap(), "search:9200");
        assert_eq!(found(&world, &variable("KEY")).unwrap(), "from Secret s, key k");
    }

    #[test]
    fn nothing_and_two_different_ones_are_gaps() {
        let world = World::new().deployment(
            "api",
            "{spec: {containers: [{name: a, env: [{name: X, value: '1'}]}, {name: b, env: [{name: X, value: '2'}]}]}}",
        );
        let gap = found(&world, &variable("X")).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::Ambiguous));
        assert!(gap.detail.contains("the containers a and b"), "{gap}");
        let gap = found(&world, &variable("XX")).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::NotFound));
        assert!(gap.detail.contains("the variable XX"), "{gap}");
    }
}
