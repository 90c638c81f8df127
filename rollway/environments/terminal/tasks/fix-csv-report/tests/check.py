from rollway.environments.terminal.checking import Box, ensure, equal


async def report(box: Box, data: str) -> tuple[str, str]:
    folder = await box.fresh()
    await box.put(f"{folder}/in.csv", data.encode())
    done = await box.run("python3", "report.py", f"{folder}/in.csv")
    equal(done.exit_code, 0)
    return done.stdout.decode().strip(), done.stderr.decode().strip()


async def check_quoted_names_and_other_columns(box: Box) -> None:
    data = 'rate,team,name,hours\n12.5,x,"Lee, Ann",4\n10,"a,b",Zed,0.5\n'
    equal((await report(box, data))[0], "Lee, Ann 50.00\nZed 5.00")


async def check_several_rows_of_one_person(box: Box) -> None:
    equal((await report(box, "name,hours,rate\nbo,1,3\nal,2,2\nbo,2,4.5\n"))[0], "al 4.00\nbo 12.00")


async def check_rows_that_are_no_numbers_are_told_of(box: Box) -> None:
    shown, told = await report(box, "name,hours,rate\nbo,one,3\nal,2,7\nbo,2,\n")
    equal(shown, "al 14.00")
    ensure(told != "", "nothing on standard error")
