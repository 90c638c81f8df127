from rollway.environments.terminal.checking import Box, equal


async def check_addresses(box: Box) -> None:
    equal(
        await box.lines("addresses.txt"),
        [
            "ann.lee@example.com",
            "bob+news@lists.example.org",
            "carl_99@sub.mail.example.net",
            "dora-x@ex-ample.io",
            "eve@example.co.uk",
            "fay.1@example.com",
            "zed@example.com",
        ],
    )
