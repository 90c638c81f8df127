cat > hosts.txt <<'TXT'
Alpha.example.org
beta.example.org
alpha.example.org
gamma.example.org  

BETA.example.org 
delta.example.org
gamma.example.org
Epsilon.example.org   
delta.example.org
  
epsilon.EXAMPLE.org
zeta.example.org
TXT
