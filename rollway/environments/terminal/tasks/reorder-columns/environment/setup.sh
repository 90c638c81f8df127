printf 'name\tborn\tcity\nAnn Lee\t03/11/1987\tLeeds\nBo\t7/4/2001\tNew York\nCem\t29/2/1996\tIzmir\nDi Ann\t31/12/1969\tCork\nEd\t1/1/2010\tRio\n' > people.tsv
