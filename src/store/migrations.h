/* migrations.h - the tables of workspace.db, as the steps that lead to them. */
#ifndef UM_STORE_MIGRATIONS_H
#define UM_STORE_MIGRATIONS_H

/* The script from schema version `from` to `from` + 1; 0 <= from < UM_WORKSPACE_SCHEMA. */
const char *um_migration(int from);

#endif
