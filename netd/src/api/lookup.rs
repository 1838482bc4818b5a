//! Finding an object by what people type.

use super::refusal::Refusal;

/// An object that can be asked for.
pub(super) trait Named {
    /// The kind of object, for messages.
    const NOUN: &'static str;

    /// Its id.
    fn id(&self) -> &str;

    /// Its name.
    fn name(&self) -> &str;
}

/// The object that `wanted` means: its id, else its name, else the beginning of one id only.
pub(super) fn find<T: Named>(objects: Vec<T>, wanted: &str) -> Result<T, Refusal> {
    let exact = objects
        .iter()
        .position(|object| object.id() == wanted)
        .or_else(|| objects.iter().position(|object| object.name() == wanted));
    let mut begin_so = objects.iter().enumerate().filter_map(|(index, object)| {
        let begins = !wanted.is_empty() && object.id().starts_with(wanted);
        begins.then_some(index)
    });
    let index = match (exact, begin_so.next(), begin_so.count()) {
        (Some(index), _, _) | (None, Some(index), 0) => index,
        (None, None, _) => {
            return Err(Refusal::NotFound {
                noun: T::NOUN,
                name: wanted.to_owned(),
            });
        }
        (None, Some(_), others) => {
            return Err(Refusal::Ambiguous {
                noun: T::NOUN,
                name: wanted.to_owned(),
                matches: others + 1,
            });
        }
    };
    // The index was found in this list.
    objects
        .into_iter()
        .nth(index)
        .ok_or_else(|| Refusal::NotFound {
            noun: T::NOUN,
            name: wanted.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Thing(&'static str, &'static str);

    impl Named for Thing {
        const NOUN: &'static str = "network";

        fn id(&self) -> &str {
            self.0
        }

        fn name(&self) -> &str {
            self.1
        }
    }

    fn found(wanted: &str) -> Result<&'static str, String> {
        let things = vec![
            Thing("4097", "app"),
            Thing("4098", "4097"),
            Thing("77", "db"),
            Thing("777", "7"),
        ];
        find(things, wanted)
            .map(|thing| thing.0)
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn ids_come_before_names_and_names_before_beginnings() {
        assert_eq!(found("app"), Ok("4097"));
        assert_eq!(
            found("4097"),
            Ok("4097"),
            "though another one has it as its name"
        );
        assert_eq!(found("77"), Ok("77"), "though another id begins so");
        assert_eq!(found("7"), Ok("777"));
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_if_no_other_begins_so() {
        assert_eq!(found("4098"), Ok("4098"));
        let ambiguous = "network 409 is ambiguous (2 matches found based on ID prefix)";
        assert_eq!(found("409"), Err(ambiguous.to_owned()));
    }

    #[test]
    fn what_does_not_exist_is_refused_in_dockers_words() {
        assert_eq!(found("web"), Err("network web not found".to_owned()));
        assert_eq!(found(""), Err("network  not found".to_owned()));
    }
}
