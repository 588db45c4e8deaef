"""The addresses that the secret may name.

Anyone who can write the secret chooses where the function sends a signed request of its AWS role,
and the token that it gets for it. So both go to Google's token services only, over TLS. The host
alone is not enough: anybody may offer a public bucket of theirs in Google's domain for uploads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+)(?::\d+)?((?:/[A-Za-z0-9._~:@/%?=&+-]*)?)")
"""An address that all parsers read in the same way: no user name, backslash or IPv6 address."""

_PATH = re.compile(
    r"/token|/v1/token|/oauth2/v[34]/token"
    r"|/v1/projects/-/serviceAccounts/[A-Za-z0-9._@-]+:generateAccessToken"
)
"""The paths of OAuth, the Security Token Service and IAM Service Account Credentials.

Source: their discovery documents, and the `token_uri` of keys of different years.
"""

_URL_FIELDS = ("token_uri", "token_url", "service_account_impersonation_url")


@dataclass(frozen=True, slots=True)
class TrustedHosts:
    """Domains whose hosts are trusted, and the address in STORAGE_EMULATOR_HOST, if that is set.

    The operator sets both. The host of that address is trusted too, and over plain HTTP if the
    address says so: then it is an emulator.
    """

    domains: frozenset[str]
    emulator: str = ""

    def problem(self, info: Mapping[str, object]) -> str | None:
        """Return why the fields of a secret are not trusted, or None. It quotes no field."""
        universe = info.get("universe_domain")
        if universe is not None and universe not in self.domains:
            return "its universe_domain is not listed in GoogleApiDomains (GOOGLE_API_DOMAINS)"
        for field in _URL_FIELDS:
            url = info.get(field)
            if url is not None and not self._trusts(str(url)):
                return (
                    f"its field {field} is not an https address of a token service in the domains"
                    f" that GoogleApiDomains (GOOGLE_API_DOMAINS) lists:"
                    f" {', '.join(sorted(self.domains))}"
                )
        return None

    def _trusts(self, url: str) -> bool:
        parsed, emulator = _URL.fullmatch(url), _URL.fullmatch(self.emulator)
        if parsed is None:
            return False
        scheme, host = parsed[1], parsed[2].lower()
        if emulator and host == emulator[2].lower():
            return scheme in {"https", emulator[1]}
        return (
            scheme == "https"
            and bool(_PATH.fullmatch(parsed[3]))
            and any(host == domain or host.endswith(f".{domain}") for domain in self.domains)
        )
