from rollway.environments.terminal.checking import Box, ensure, equal


async def check_main_is_clean_and_whole(box: Box) -> None:
    log = await box.git("log", "--reverse", "--format=%H %an|%s", "main", repo="repo")
    commits = [line.partition(" ") for line in log.split("\n")]
    equal([told for _, _, told in commits], [f"Author {n}|Step {n}" for n in range(1, 7)])
    for n, (commit, _, _) in enumerate(commits, 1):
        equal(await box.git("ls-tree", "-r", "--name-only", commit, repo="repo"), "notes.txt")
        equal(
            await box.git("show", f"{commit}:notes.txt", repo="repo"),
            "\n".join(f"line {k}" for k in range(1, n + 1)),
        )


async def check_no_reference_leads_to_the_file(box: Box) -> None:
    objects = await box.git("rev-list", "--all", "--reflog", "--objects", repo="repo")
    ensure("deploy.key" not in objects, "a reference or the reflog still leads to it")
