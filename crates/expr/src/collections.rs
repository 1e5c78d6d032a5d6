//! Methods of collections (CO-237): which items a filter leaves, and in which order.

use monty_types::MontyObject;
use serde_json::Value as Json;

use crate::{
    bridge::Bridge,
    filter::{Filter, Subject},
    value::Object,
};

/// Methods that collections have and lists have not. `rewrite` turns their calls into calls of the prelude.
pub(crate) const METHODS: [&str; 10] =
    ["all", "distinct", "filter", "exclude", "first", "last", "exists", "count", "order_by", "values_list"];

impl Bridge<'_> {
    /// Reads filters from keyword arguments.
    pub(crate) fn filters(
        &self,
        subject: Subject,
        kwargs: &[(MontyObject, MontyObject)],
    ) -> Result<Vec<Filter>, String> {
        let filter = |(key, value): &(MontyObject, MontyObject)| {
            let key = self.text(key);
            let value = match self.object_of(value) {
                // An object stands for its key, so that `filter(pk=group)` means what it says.
                Some(Object::User(user)) => user.pk.map_or(Json::Null, Json::from),
                Some(Object::Group(group)) => Json::String(group.pk.clone()),
                _ => self.json(value).ok_or_else(|| format!("the value of '{key}' is nested in itself"))?,
            };
            Filter::parse(subject, &key, value).map_err(|error| error.to_string())
        };
        kwargs.iter().map(filter).collect()
    }

    /// The places of the items that a call of `filter`, `exclude` or `order_by` leaves.
    pub(crate) fn select(&self, args: &[MontyObject]) -> Result<MontyObject, String> {
        let [MontyObject::List(items), MontyObject::Tuple(positional), MontyObject::Dict(kwargs), keep] = args else {
            return Err("not a collection".to_owned());
        };
        let objects: Vec<&Object> = items
            .iter()
            .map(|item| self.object_of(item).ok_or_else(|| "only collections of objects can be filtered".to_owned()))
            .collect::<Result<_, _>>()?;
        let places: Vec<usize> = match keep {
            MontyObject::Bool(keep) if positional.is_empty() => {
                let subject = match objects.first() {
                    Some(Object::User(_)) => Subject::User,
                    Some(Object::Role(_) | Object::Entitlement(_)) => Subject::Named,
                    // An empty collection is one of groups: they are by far the most.
                    _ => Subject::Group,
                };
                let kwargs: Vec<_> = kwargs.into_iter().cloned().collect();
                let filters = self.filters(subject, &kwargs)?;
                let passes = |object: &&Object| filters.iter().all(|filter| matches(filter, object));
                objects.iter().enumerate().filter(|(_, object)| passes(object) == *keep).map(|(at, _)| at).collect()
            }
            MontyObject::None => self.order(&objects, positional)?,
            _ => return Err("filters are keyword arguments".to_owned()),
        };
        let places = places.into_iter().filter_map(|at| i64::try_from(at).ok()).map(MontyObject::Int);
        Ok(MontyObject::List(places.collect()))
    }

    fn order(&self, objects: &[&Object], fields: &[MontyObject]) -> Result<Vec<usize>, String> {
        let mut places: Vec<usize> = (0..objects.len()).collect();
        // The last field first: a stable sort keeps the order of those before.
        for field in fields.iter().rev() {
            let field = self.text(field);
            let (name, descending) = field.strip_prefix('-').map_or((field.as_str(), false), |name| (name, true));
            let mut keys = Vec::with_capacity(objects.len());
            for object in objects {
                let key = sort_key(object, name).ok_or_else(|| format!("cannot order by '{name}'"))?;
                keys.push(key);
            }
            places.sort_by(|left, right| {
                let order = keys.get(*left).cmp(&keys.get(*right));
                if descending { order.reverse() } else { order }
            });
        }
        Ok(places)
    }
}

fn matches(filter: &Filter, object: &Object) -> bool {
    match object {
        Object::User(user) => filter.matches_user(user),
        Object::Group(group) => filter.matches_group(group),
        Object::Role(named) | Object::Entitlement(named) => filter.matches_named(named),
        _ => false,
    }
}

/// What objects are ordered by: a number, then a text.
fn sort_key<'a>(object: &'a Object, name: &str) -> Option<(i64, &'a str)> {
    Some(match (object, name) {
        (Object::User(user), "pk" | "id") => (user.pk?.into(), ""),
        (Object::User(user), "username") => (0, &user.username),
        (Object::User(user), "name") => (0, &user.name),
        (Object::User(user), "email") => (0, &user.email),
        (Object::Group(group), "pk" | "group_uuid") => (0, &group.pk),
        (Object::Group(group), "num_pk") => (group.num_pk, ""),
        (Object::Group(group), "name") => (0, &group.name),
        (Object::Group(group), "is_superuser") => (group.is_superuser.into(), ""),
        (Object::Role(named) | Object::Entitlement(named), "pk") => (0, &named.pk),
        (Object::Role(named) | Object::Entitlement(named), "name") => (0, &named.name),
        _ => return None,
    })
}
