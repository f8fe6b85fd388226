//! Decides which operation a request is: the first route in the order of the file that matches.
//!
//! The first match is final. Where a value that it takes from the path is not one plain segment, the request is refused;
//! a later route is never asked instead. The same goes for a segment under `*` or `**` that a service could take for another
//! one, and so serve what an earlier, stricter route was written for: one with parameters (`a;x`), which some cut off, and
//! one with an escape of what may stand unescaped (`a%3Ab` for `a:b`), which most decode. And for a path that an earlier
//! route matches but for the slash at the end, which many ignore.

use std::sync::Arc;

use super::host::Host;
use super::path::NormalPath;
use super::route::{Route, RouteConfig};
use super::template::{Segment, has_one_reading, is_plain};
use super::trie::{Index, Match};
use super::{Mode, Operation, Unresolved};

/// The routes of the configuration, checked and indexed. An empty table matches nothing.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    index: Index,
    unreachable_routes: Vec<Problem>,
}

/// Where in the configuration something is wrong, as `routes[3].path`, and what.
pub type Problem = (String, String);

impl RouteTable {
    /// Checks and indexes `routes`. The error holds every problem of every route.
    pub fn compile(routes: &[RouteConfig]) -> Result<Self, Vec<Problem>> {
        let mut table = Self::default();
        let mut problems = Vec::new();
        for (number, config) in routes.iter().enumerate() {
            match config.compile() {
                Ok(route) => {
                    table.index.insert(number, &route);
                    table.routes.push(route);
                }
                Err(found) => problems.extend(found.into_iter().map(|(key, message)| {
                    let dot = if key.is_empty() { "" } else { "." };
                    (format!("routes[{number}]{dot}{key}"), message)
                })),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        table.unreachable_routes = find_unreachable(&table.routes);
        Ok(table)
    }

    /// Routes that can never match, because one earlier route matches every request that they do.
    ///
    /// Every route listed is dead; one that several earlier routes cover only together is not listed.
    pub fn unreachable(&self) -> &[Problem] {
        &self.unreachable_routes
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether nothing can match.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Routes whose refusals do not bind, as audit names them.
    pub fn in_shadow_mode(&self) -> impl Iterator<Item = &str> {
        self.routes
            .iter()
            .filter(|route| route.mode == Mode::Shadow)
            .map(|route| &*route.name)
    }

    /// The operation of a request. `method` is compared as it is, letter by letter.
    pub fn resolve<'a>(
        &'a self,
        method: &str,
        host: &Host<'_>,
        path: &'a NormalPath<'_>,
    ) -> Result<Operation<'a>, Unresolved> {
        let route = match self.index.first(method, host, path) {
            Match::Route(number) => self.routes.get(number).ok_or(Unresolved::NoRoute)?,
            Match::Nothing => return Err(Unresolved::NoRoute),
            Match::SlashAside => return Err(Unresolved::SlashAside),
        };
        let params = captures(route, path)?;
        let resource = route
            .resource
            .fill(&params)
            .or_else(|_| invalid(route, "resource"))?;
        Ok(Operation {
            resource,
            action: route.action.clone(),
            target: route.target.clone(),
            params,
            attributes: Arc::clone(&route.attributes),
            body: route.body,
            cache_ttl: route.cache_ttl,
            mode: route.mode,
            route: Arc::clone(&route.name),
        })
    }
}

fn captures<'a>(
    route: &'a Route,
    path: &'a NormalPath<'_>,
) -> Result<Vec<(&'a str, &'a str)>, Unresolved> {
    let mut params = Vec::new();
    for (at, value) in path.segments().enumerate() {
        match route.path.segments.get(at) {
            Some(Segment::Capture(name)) if is_plain(value) => params.push((&**name, value)),
            Some(Segment::Capture(name)) => return invalid(route, name),
            Some(Segment::Any) if !has_one_reading(value) => return invalid(route, "*"),
            None if !has_one_reading(value) => return invalid(route, "**"),
            Some(Segment::Literal(_) | Segment::Any) | None => {}
        }
    }
    Ok(params)
}

fn invalid<T>(route: &Route, name: &str) -> Result<T, Unresolved> {
    Err(Unresolved::InvalidCapture {
        name: name.to_owned(),
        mode: route.mode,
    })
}

fn find_unreachable(routes: &[Route]) -> Vec<Problem> {
    let mut unreachable = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let covering = routes
            .iter()
            .take(number)
            .enumerate()
            .find(|(_, earlier)| earlier.covers(route));
        if let Some((first, earlier)) = covering {
            unreachable.push((
                format!("routes[{number}]"),
                format!(
                    "`{}` never matches: routes[{first}] `{}` comes first and matches all of it; \
                     put the narrower route first or remove it",
                    route.name, earlier.name
                ),
            ));
        }
    }
    unreachable
}

#[cfg(test)]
mod tests;
