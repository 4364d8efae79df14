//! What a caller may be allowed (SPEC §1, "Rights"). Which request takes which role is a column of the
//! table of opcodes (SPEC §4).

use serde::{Deserialize, Serialize};

/// A right to some requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Ask whether a key may do something.
    Check = 1,
    /// Report what became of a request.
    Report = 2,
    /// Read records, figures and events.
    Read = 4,
    /// Make and change keys.
    Manage = 8,
    /// Everything: the daemon is this caller's.
    Own = 16,
}

impl Role {
    /// Every role.
    pub const ALL: &[Self] = &[Self::Check, Self::Report, Self::Read, Self::Manage, Self::Own];

    /// The name as the configuration writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Report => "report",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Own => "own",
        }
    }

    /// This role and those that it includes: `manage` includes `read`, `own` includes all.
    const fn bits(self) -> u8 {
        match self {
            Self::Check | Self::Report | Self::Read => self as u8,
            Self::Manage => self as u8 | Self::Read as u8,
            Self::Own => 31,
        }
    }
}

/// A set of roles, each with those that it includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(31);

    /// Whether a role is in it.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & role as u8 != 0
    }

    /// Whether none is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The roles in it, in their order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bits()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_brings_those_that_it_includes_and_no_other() {
        use Role::{Check, Manage, Own, Read, Report};
        for (given, has) in [
            (vec![], vec![]),
            (vec![Check], vec![Check]),
            (vec![Report, Check], vec![Check, Report]),
            (vec![Manage], vec![Read, Manage]),
            (vec![Own], vec![Check, Report, Read, Manage, Own]),
        ] {
            let roles: Roles = given.iter().copied().collect();
            assert_eq!(roles.iter().collect::<Vec<_>>(), has, "{given:?}");
            assert_eq!(roles.is_empty(), has.is_empty());
        }
        assert_eq!([Own].into_iter().collect::<Roles>(), Roles::ALL);
    }
}
