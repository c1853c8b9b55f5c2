//! Scopes that are not about resources.

macro_rules! specials {
    ($($variant:ident $text:literal $doc:literal,)*) => {
        /// A scope about the launch, the user or the session.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Special {
            $(#[doc = $doc] $variant,)*
        }

        impl Special {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

specials! {
    Administer "system/__admin" "To administer clients, accounts and keys, as a service.",
    AdministerAsUser "user/__admin" "The same for users whose roles let them.",
    FhirUser "fhirUser" "The resource that stands for the user.",
    Introspect "system/__introspect" "To ask what a token is.",
    Launch "launch" "The context of the launch from an EHR.",
    LaunchEncounter "launch/encounter" "An encounter is to be chosen.",
    LaunchPatient "launch/patient" "A patient is to be chosen.",
    MakeLaunch "system/__launch" "To begin launches.",
    Messages "system/__messages" "To send messages of version 2, look at them, replay and discard them.",
    OfflineAccess "offline_access" "Refreshed when the user has gone.",
    OnlineAccess "online_access" "Refreshed while the user is there.",
    OpenId "openid" "Who the user is.",
    Profile "profile" "The resource that stands for the user, by its older name.",
}

impl Special {
    /// The scope with exactly this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == text)
    }

    /// Whether services alone have it, by the word of the operator: no user can agree to it, and no
    /// client gets it by registering itself.
    pub fn is_of_services(self) -> bool {
        matches!(self, Self::Administer | Self::Introspect | Self::MakeLaunch | Self::Messages)
    }
}
