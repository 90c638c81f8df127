from rollway.environments.terminal.checking import Box, equal, task_module


async def check_idle_users(box: Box) -> None:
    data = task_module(__file__, "make_data")
    active = {user for _, user, _ in data.orders()}
    equal(await box.lines("idle.txt"), sorted(name for user, name in data.users() if user not in active))
