/* Imports something that is not WASI. */
__attribute__((import_module("env"), import_name("launch"))) void launch(void);
int main(void) { launch(); return 0; }
