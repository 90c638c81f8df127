cat > crontab.txt <<'CRON'
# m h dom mon dow command
0 3 * * * nightly
*/20 4 * * 4 thursday
*/15 3 29 * * month end
5 3 30 * 4 either day
7 3 30 * 3 neither day
10-40/10 4 * 2 1-5 step range
30 3,5 * 3 * wrong month
45 2-4 1,15,29 2,3 0 sunday or listed
0 3 * * 0,7 sundays
# 1 3 * * * off
59 4 */7 * 4 every seventh
59 4 */2 * * odd days
CRON
