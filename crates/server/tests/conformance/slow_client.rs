behaviours![];
